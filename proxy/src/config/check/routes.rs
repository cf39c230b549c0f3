//! Which question goes to whom, for how long the answer is remembered, and whether the attempts fit into the deadline:
//! `[[route]]` and `[cache]`. Called by `check`.

use std::time::Duration;

use humantime::format_duration;
use wildmatch::WildMatch;

use super::authorizers::Authorizers;
use super::{name, no_duplicates, shown};
use crate::config::diagnose::did_you_mean;
use crate::config::meant::{Cache, Clients, Combine, KEPT_FOR_RECORD, Listen, Match, Route};
use crate::config::written::{At, Table};

/// Beyond it a withdrawn right goes on to work for longer than its owner expects.
const LONG_TTL: Duration = Duration::from_secs(300);
/// Name of the route that exists where none is written.
const DEFAULT_ROUTE: &str = "default";

pub fn cache(table: &Table<'_>) -> Option<Cache> {
    let (allow_ttl, deny_ttl) = (ttl(table, "allow_ttl"), ttl(table, "deny_ttl"));
    let (entries, ignore_defaults) = (table.get("entries"), table.get("ignore_defaults"));
    let (ignore, actions) = (table.texts("ignore"), table.texts("actions"));
    let recheck = table.get("recheck");
    Some(Cache {
        entries: entries?,
        allow_ttl: allow_ttl?,
        deny_ttl: deny_ttl?,
        ignore: plain(&ignore?),
        ignore_defaults: ignore_defaults?,
        actions: plain(&actions?),
        recheck: recheck?,
    })
}

/// `listen` is absent where it is wrong; what depends on it is then not checked.
pub fn all(root: &Table<'_>, authorizers: &Authorizers, listen: Option<&Listen>, cache: &Cache) -> Option<Vec<Route>> {
    let tables = root.tables("route");
    if tables.is_empty() {
        let route = only_route(root, authorizers, cache)?;
        fits_deadline(root, &route, authorizers, listen);
        return Some(vec![route]);
    }
    let names: Vec<_> = tables.iter().filter_map(|table| table.at::<String>("name")).collect();
    no_duplicates(root, "route", &names);
    let mut routes: Vec<Route> = Vec::new();
    for table in &tables {
        let Some(route) = route(table, authorizers, listen, cache) else { continue };
        if let Some(before) = routes.iter().find(|before| before.matches.is_everything()) {
            table.warn(
                "name",
                format!("route `{}` is never reached: `{}` before it matches everything", route.name, before.name),
            );
        }
        fits_deadline(table, &route, authorizers, listen);
        routes.push(route);
    }
    never_asked(&tables, authorizers);
    // A route with a mistake may be the one that is meant to.
    if routes.len() == tables.len() && !routes.iter().any(|route| route.matches.is_everything()) {
        let place = tables.last().and_then(|last| last.span.clone());
        root.page.warn(&place, "no route matches everything: questions that no route matches are denied (`no_route`)");
    }
    Some(routes)
}

/// Warns about authorizers that no route names, by what is written: routes with other mistakes count.
fn never_asked(routes: &[Table<'_>], authorizers: &Authorizers) {
    let named: Vec<_> =
        routes.iter().flat_map(|route| [route.texts("ask"), route.texts("shadow")]).flatten().flatten().collect();
    for name in &authorizers.names {
        if let Some(table) = routes.first()
            && !named.iter().any(|asked| asked.value == name.value)
        {
            table.page.warn(&name.span, format!("authorizer `{}` is never asked: no route names it", shown(name)));
        }
    }
}

/// The route that a lone authorizer gets; two need somebody to say which one decides.
fn only_route(root: &Table<'_>, authorizers: &Authorizers, cache: &Cache) -> Option<Route> {
    if let [first, second, ..] = authorizers.names.as_slice() {
        let message = format!(
            "two authorizers and no `[[route]]`: which one decides? `{}` would become a fallback of `{}`",
            shown(second),
            shown(first)
        );
        root.page.error(&second.span, message);
    }
    let everything = || vec!["*".to_owned()];
    Some(Route {
        name: DEFAULT_ROUTE.to_owned(),
        matches: Match { client: everything(), action: everything(), bucket: everything(), account: everything() },
        ask: vec![authorizers.meant.first()?.name.clone()],
        combine: Combine::First,
        shadow: Vec::new(),
        allow_ttl: cache.allow_ttl,
        deny_ttl: cache.deny_ttl,
    })
}

fn route(table: &Table<'_>, authorizers: &Authorizers, listen: Option<&Listen>, cache: &Cache) -> Option<Route> {
    let name = name(table, "name");
    let matches = matches(&table.table("match"), listen);
    let ask = asked(table, "ask", authorizers);
    let shadow = asked(table, "shadow", authorizers);
    if let (Some(ask), Some(shadow)) = (&ask, &shadow)
        && let Some(both) = shadow.iter().find(|shadow| ask.iter().any(|asked| asked.value == shadow.value))
    {
        table
            .page
            .error(&both.span, format!("`{}` is asked by this route already; a shadow is another one", both.value));
    }
    if ask.as_ref().is_some_and(Vec::is_empty) {
        table.error("ask", "`route.ask` is empty: nobody would decide");
    }
    let lifetimes = table.table("cache");
    let (allow_ttl, deny_ttl) = (ttl(&lifetimes, "allow_ttl"), ttl(&lifetimes, "deny_ttl"));
    let combine = table.word("combine");
    Some(Route {
        name: name?.value,
        matches: matches?,
        ask: plain(&ask?),
        combine: combine?,
        shadow: plain(&shadow?),
        allow_ttl: allow_ttl.unwrap_or(cache.allow_ttl),
        deny_ttl: deny_ttl.unwrap_or(cache.deny_ttl),
    })
}

/// Names of authorizers, all of which exist.
fn asked(table: &Table<'_>, key: &str, authorizers: &Authorizers) -> Option<Vec<At<String>>> {
    let names = table.texts(key)?;
    no_duplicates(table, "authorizer", &names);
    let known: Vec<&str> = authorizers.names.iter().map(|name| name.as_str()).collect();
    for name in &names {
        if !known.contains(&name.as_str()) {
            let near = did_you_mean(name, known.iter().copied());
            table.page.error(&name.span, format!("no authorizer is named `{}`{near}", shown(name)));
        }
    }
    Some(names)
}

fn matches(table: &Table<'_>, listen: Option<&Listen>) -> Option<Match> {
    let client = globs(table, "client");
    for glob in client.iter().flatten() {
        let pattern = WildMatch::new(glob);
        let sends = match listen.map(|listen| &listen.clients) {
            None => true,
            // It may be a client whose token is not there yet.
            Some(Clients::Tokens(_)) if table.page.lacks() => true,
            Some(Clients::Loopback) => pattern.matches("local"),
            Some(Clients::Tokens(tokens)) => tokens.iter().any(|token| pattern.matches(&token.name)),
        };
        if !sends {
            table.page.warn(&glob.span, format!("no client's name matches `{}`", shown(glob)));
        }
    }
    let (action, bucket, account) = (globs(table, "action"), globs(table, "bucket"), globs(table, "account"));
    Some(Match { client: plain(&client?), action: plain(&action?), bucket: plain(&bucket?), account: plain(&account?) })
}

fn globs(table: &Table<'_>, key: &str) -> Option<Vec<At<String>>> {
    let globs = table.texts(key)?;
    if globs.is_empty() {
        table.error(
            key,
            format!("`{}.{key}` is an empty list, which matches nothing; leave it out to match all", table.path),
        );
    }
    Some(globs)
}

fn ttl(table: &Table<'_>, key: &str) -> Option<Duration> {
    let ttl = table.get::<Duration>(key)?;
    if ttl > LONG_TTL {
        let path = &table.path;
        table
            .warn(key, format!("`{path}.{key}` is above 5m: a changed right takes effect only after that, or a purge"));
    }
    Some(ttl)
}

/// Warns where the attempts of a route take longer, at their worst, than a question may wait.
fn fits_deadline(table: &Table<'_>, route: &Route, authorizers: &Authorizers, listen: Option<&Listen>) {
    let Some(listen) = listen else { return };
    let worst = longest(route, |name| authorizers.longest(name));
    let budget = listen.deadline.saturating_sub(KEPT_FOR_RECORD);
    if worst > budget {
        let message = format!(
            "the attempts of route `{}` can take {}, but a deadline of {} leaves {}: the last of them would be cut off",
            route.name,
            format_duration(worst),
            format_duration(listen.deadline),
            format_duration(budget),
        );
        table.warn("ask", message);
    }
}

/// The longest that a route's attempts can take: one after the other for `first`, at once for the others.
pub fn longest(route: &Route, of: impl Fn(&str) -> Option<Duration>) -> Duration {
    let each = route.ask.iter().filter_map(|name| of(name));
    match route.combine {
        Combine::First => each.sum(),
        Combine::All | Combine::Any => each.max().unwrap_or_default(),
    }
}

fn plain(texts: &[At<String>]) -> Vec<String> {
    texts.iter().map(|text| text.value.clone()).collect()
}
