//! The import rule of `lib.rs`: a file imports from rows above its own, and each large foreign crate has one home.
//! Read from tokens, so that paths inside macros count and comments do not; test modules are free.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::str::FromStr;

use proc_macro2::{Delimiter, TokenStream, TokenTree, token_stream};

use super::files;

/// Rows from the top. A module stands in the row that names its longest prefix.
const ROWS: [(&str, &[&str]); 7] = [
    ("words", &["version", "policy::request", "policy::verdict"]),
    (
        "pure",
        &[
            "wire",
            "policy",
            "audit::record",
            "audit::shadow",
            "audit::lifecycle",
            "audit::segment",
            "audit::chain",
            "audit::envelope",
            "audit::json",
            "audit::stub",
        ],
    ),
    ("edges", &["metrics", "trace", "small_file", "certificates", "authorizer", "audit", "kafka"]),
    ("decide", &["decide"]),
    ("line", &["pipeline"]),
    ("doors", &["front", "admin", "status"]),
    ("root", &["config", "log", "app", "commands", "main", "lib"]),
];

/// Modules of one row that may use each other: elsewhere a row does not know itself.
const OPEN_ROWS: [&str; 3] = ["words", "pure", "root"];

/// Edges that every edge may use.
const FOR_ALL_EDGES: [&str; 4] = ["metrics", "trace", "small_file", "certificates"];

/// `publisher` hands to a sink, whose trait stands beside it: the one way from Kafka to the audit trail. `admin` answers with the
/// pages of `status`.
const ALLOWED: [(&str, &str); 2] = [("kafka", "audit::publisher"), ("admin", "status")];

/// Where foreign crates may be named. A trailing `*` stands for the rest of the crate's name.
const HOMES: [(&str, &[&str]); 6] = [
    ("rdkafka", &["kafka"]),
    ("lru", &["decide::cache"]),
    ("opentelemetry*", &["trace"]),
    ("prometheus_client", &["metrics"]),
    ("maud", &["status"]),
    ("pingora*", &["front", "admin", "authorizer", "app", "trace", "commands::demo"]),
];

/// Row and the prefix that put the module there.
fn row(module: &str) -> Option<(usize, &'static str)> {
    let within = |prefix: &&&str| is_within(module, prefix);
    let rows = ROWS.iter().enumerate();
    let matching = rows.flat_map(|(at, (_, prefixes))| prefixes.iter().filter(within).map(move |prefix| (at, *prefix)));
    matching.max_by_key(|(_, prefix)| prefix.len())
}

fn is_within(module: &str, prefix: &str) -> bool {
    module.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn top(module: &str) -> &str {
    module.split("::").next().unwrap_or(module)
}

/// Why this module may not import that path; `None` where it may.
fn forbidden(module: &str, path: &str) -> Option<String> {
    let Some((from, _)) = row(module) else { return Some(format!("`{module}` stands in no row")) };
    let Some((to, _)) = row(path) else { return Some(format!("`{path}` stands in no row")) };
    let (from_row, to_row) = (ROWS[from].0, ROWS[to].0);
    let allowed = match from.cmp(&to) {
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => {
            let for_all = from_row == "edges" && FOR_ALL_EDGES.contains(&top(path)) && top(module) != "metrics";
            top(module) == top(path) || OPEN_ROWS.contains(&from_row) || for_all
        }
    };
    let excepted = ALLOWED.iter().any(|(user, used)| is_within(module, user) && is_within(path, used));
    let config = top(path) == "config" && !matches!(top(module), "config" | "app" | "commands" | "main");
    ((!allowed && !excepted) || config).then(|| format!("{from_row} `{module}` imports {to_row} `{path}`"))
}

/// Why this module may not name that foreign crate.
fn homeless(module: &str, name: &str) -> Option<String> {
    let is_it = |rule: &str| rule.strip_suffix('*').map_or(name == rule, |start| name.starts_with(start));
    let (_, homes) = HOMES.iter().find(|(rule, _)| is_it(rule))?;
    let at_home = homes.iter().any(|home| is_within(module, home));
    (!at_home).then(|| format!("`{module}` names `{name}`, which lives in {}", homes.join(", ")))
}

/// Paths below `crate`, and the first names of all other paths.
#[derive(Default, Debug)]
struct Named {
    own: Vec<String>,
    foreign: Vec<String>,
}

type Tokens = Peekable<token_stream::IntoIter>;

impl Named {
    /// `depth` is how many times `super` leads from this file to the crate's root.
    fn read(text: &str, depth: usize) -> Self {
        let mut named = Self::default();
        named.walk(TokenStream::from_str(text).expect("tokens"), depth);
        named
    }

    fn walk(&mut self, stream: TokenStream, depth: usize) {
        let mut tokens = stream.into_iter().peekable();
        // What follows `a::` or `a.` goes on with a path or a value, and does not begin one.
        let mut goes_on = false;
        while let Some(token) = tokens.next() {
            let before = std::mem::take(&mut goes_on);
            match token {
                TokenTree::Punct(punct) if punct.as_char() == '#' => skip_tests(&mut tokens),
                TokenTree::Punct(punct) => goes_on = punct.as_char() == '.',
                TokenTree::Ident(name) if name == "crate" && skip_colons(&mut tokens) => {
                    self.below("", &mut tokens);
                }
                TokenTree::Ident(name) if name == "super" => self.upwards(&mut tokens, depth),
                TokenTree::Ident(name) => {
                    goes_on = skip_colons(&mut tokens);
                    if goes_on && !before {
                        self.foreign.push(name.to_string());
                    }
                }
                TokenTree::Group(group) => self.walk(group.stream(), depth),
                TokenTree::Literal(_) => {}
            }
        }
    }

    /// What follows `crate::`, groups of a `use` included.
    fn below(&mut self, prefix: &str, tokens: &mut Tokens) {
        match tokens.next() {
            Some(TokenTree::Ident(name)) => {
                let path = if prefix.is_empty() { name.to_string() } else { format!("{prefix}::{name}") };
                if followed_by_colons(tokens) && skip_colons(tokens) {
                    self.below(&path, tokens);
                } else {
                    self.own.push(path);
                }
            }
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                let mut inside = group.stream().into_iter().peekable();
                while inside.peek().is_some() {
                    self.below(prefix, &mut inside);
                    while inside.next_if(|token| !is_punct(token, ',')).is_some() {}
                    inside.next();
                }
            }
            _ => self.own.push(prefix.to_owned()),
        }
    }

    fn upwards(&mut self, tokens: &mut Tokens, depth: usize) {
        let mut up = 1;
        while skip_colons(tokens) {
            if tokens.next_if(|token| matches!(token, TokenTree::Ident(name) if name == "super")).is_none() {
                if up >= depth {
                    self.below("", tokens);
                }
                return;
            }
            up += 1;
        }
    }
}

fn is_punct(token: &TokenTree, character: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == character)
}

fn followed_by_colons(tokens: &mut Tokens) -> bool {
    tokens.peek().is_some_and(|token| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ':' && punct.spacing() == proc_macro2::Spacing::Joint))
}

fn skip_colons(tokens: &mut Tokens) -> bool {
    let there = followed_by_colons(tokens);
    if there {
        tokens.next();
        tokens.next();
    }
    there
}

/// After `#`: where it is `[cfg(test)]`, passes over the item that follows.
fn skip_tests(tokens: &mut Tokens) {
    let Some(TokenTree::Group(attribute)) = tokens.next_if(|token| matches!(token, TokenTree::Group(_))) else {
        return;
    };
    if attribute.stream().to_string().replace(' ', "") != "cfg(test)" {
        return;
    }
    for token in tokens.by_ref() {
        let ends = matches!(&token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
        if ends || is_punct(&token, ';') {
            return;
        }
    }
}

fn complaints(module: &str, text: &str) -> Vec<String> {
    let named = Named::read(text, module.split("::").count());
    let own = named.own.iter().filter_map(|path| forbidden(module, path));
    own.chain(named.foreign.iter().filter_map(|name| homeless(module, name))).collect()
}

#[test]
fn the_rule_sees_what_breaks_it() {
    let bad = [
        ("policy::route", "use crate::decide::cache::Cache;"),
        ("wire", "fn a() { let b = crate::metrics::Metrics::new(); }"),
        ("decide", "use crate::{policy::key::Key, config};"),
        ("authorizer::webhook", "use crate::{metrics::{names, Metrics}, kafka::sink};"),
        ("metrics", "use crate::trace::Tracer;"),
        ("front", "fn a() { println!(\"{}\", crate::admin::B); }"),
        ("policy::route", "use super::super::front::Front;"),
        ("decide", "use prometheus_client::registry::Registry;"),
        ("audit::spool", "fn a() -> rdkafka::error::KafkaError { b() }"),
        ("decide::flight", "use lru::LruCache;"),
        ("front", "type A = opentelemetry_sdk::Resource;"),
    ];
    for (module, text) in bad {
        assert_eq!(complaints(module, text).len(), 1, "{module}: {text}: {:?}", Named::read(text, 2));
    }
    let good = [
        ("decide", "use crate::authorizer::Authorizer; use crate::metrics::Metrics; // crate::front"),
        ("kafka::sink", "use crate::audit::publisher::Sink; use crate::trace::Tracer; use rdkafka::Message;"),
        ("policy::route", "use crate::wire::answer::Answer; #[cfg(test)] mod tests { use crate::front::Front; }"),
        ("audit::publisher::worker", "use super::super::spool::Spool; use super::Sink;"),
        ("app", "use crate::config::Config; use pingora::server::Server;"),
        ("pipeline", "use self::lru::Mine; fn a() { b.lru::<C>(); }"),
    ];
    for (module, text) in good {
        assert_eq!(complaints(module, text), [""; 0], "{module}: {text}");
    }
}

#[test]
fn files_import_from_above() {
    let mut all = Vec::new();
    for file in files::rust() {
        let Some(path) = file.path.strip_prefix("proxy/src/") else { continue };
        if path.ends_with("tests.rs") || path.contains("/tests/") || path == "lib.rs" || path == "main.rs" {
            continue;
        }
        let module = path.trim_end_matches(".rs").replace('/', "::");
        all.extend(complaints(&module, &file.text).into_iter().map(|why| format!("{}: {why}", file.path)));
    }
    files::fail_on(&all);
}

#[test]
fn the_map_in_the_library_shows_the_same_rows() {
    let files = files::rust();
    let map = &files.iter().find(|file| file.path == "proxy/src/lib.rs").unwrap().text;
    for (row, prefixes) in ROWS {
        let start = format!("//! | {row} | ");
        let line = map.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or_else(|| panic!("no row `{row}`"));
        let shown: BTreeSet<&str> = line.split('`').skip(1).step_by(2).collect();
        let held: BTreeSet<&str> = prefixes.iter().copied().filter(|prefix| *prefix != "lib").collect();
        assert_eq!(shown, held, "{row}");
    }
}
