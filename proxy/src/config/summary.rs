//! What a configuration means in numbers: how long the spool lasts, how long a question can wait, who is asked. Text for
//! people; called by `check`, which warns with it, and by `commands::check`, which prints it.

use humantime::format_duration;

use super::check::longest;
use super::meant::{
    Account, Authorizer, Clients, Combine, Config, Durability, KEPT_FOR_RECORD, Object, Privacy, ReportedIp, Route,
};

/// Bytes that one record takes in the spool, 1.6 KiB: the JSON of an object read by a named user through an ordinary S3
/// client, and its frame. Longer keys and user agents take more.
pub const BYTES_A_RECORD: u64 = 1_640;
/// The rate that endurance is stated for: a busy MinIO.
const DECISIONS_A_SECOND: u64 = 1_000;

/// `20 GiB`.
pub fn gibibytes(bytes: u64) -> String {
    bytesize::ByteSize(bytes).display().iec().to_string().replace(".0 ", " ")
}

/// `3 h 38 min at 1,000 decisions/s`.
pub fn endurance(bytes: u64) -> String {
    let seconds = bytes / BYTES_A_RECORD / DECISIONS_A_SECOND;
    format!("{} at {} decisions/s", hours(seconds), thousands(DECISIONS_A_SECOND))
}

/// Everything worth knowing before it runs, a fact a line.
pub fn summary(config: &Config) -> Vec<String> {
    let mut lines = vec![door(config), operators(config)];
    lines.extend(config.routes.iter().map(|route| asked(config, route)));
    lines.push(cache(config));
    lines.push(spool(config));
    lines.push(published(config));
    lines.push(traced(config));
    lines.push(signed(config));
    lines.push(privacy(config));
    lines.push(format!("generation: {}", config.generation()));
    lines
}

fn door(config: &Config) -> String {
    let listen = &config.listen;
    let who = match &listen.clients {
        Clients::Loopback => "whoever is on this machine, as client `local`".to_owned(),
        Clients::Tokens(tokens) => quoted(tokens.iter().map(|token| token.name.as_str())),
    };
    let scheme = if listen.tls.is_some() { "https" } else { "http" };
    format!("instance `{}` answers on {scheme}://{}{} to {who}", config.instance, listen.address, listen.path)
}

fn operators(config: &Config) -> String {
    let admin = &config.admin;
    let changes = match &admin.token {
        Some(_) => "purges with a token",
        None if admin.address.ip().to_canonical().is_loopback() => "purges by whoever is on this machine",
        None => "purges by nobody, for there is no `admin.token`",
    };
    format!("operators: http://{}, {changes}", admin.address)
}

/// `route `default`: everything → `opa`; attempts take at most 1s of the 1s 750ms that the deadline leaves`.
fn asked(config: &Config, route: &Route) -> String {
    let matches = &route.matches;
    let limits: Vec<String> = [
        ("client", &matches.client),
        ("action", &matches.action),
        ("bucket", &matches.bucket),
        ("account", &matches.account),
    ]
    .into_iter()
    .filter(|(_, globs)| !globs.iter().any(|glob| glob == "*"))
    .map(|(member, globs)| format!("{member} {}", quoted(globs.iter().map(String::as_str))))
    .collect();
    let what = if limits.is_empty() { "everything".to_owned() } else { limits.join(", ") };
    let how = match route.combine {
        Combine::First => ", then on a fault ",
        Combine::All => " and ",
        Combine::Any => " or ",
    };
    let who: Vec<String> = route.ask.iter().map(|name| format!("`{name}`")).collect();
    let worst = longest(route, |name| {
        config.authorizers.iter().find(|authorizer| authorizer.name == name).map(Authorizer::longest)
    });
    let tried = match quoted(route.shadow.iter().map(String::as_str)) {
        names if names.is_empty() => String::new(),
        names => format!(", with {names} as shadow"),
    };
    format!(
        "route `{}`: {what} → {}{tried}; attempts take at most {} of the {} that the deadline leaves ({} less {} for the record)",
        route.name,
        who.join(how),
        format_duration(worst),
        format_duration(config.listen.deadline.saturating_sub(KEPT_FOR_RECORD)),
        format_duration(config.listen.deadline),
        format_duration(KEPT_FOR_RECORD),
    )
}

fn cache(config: &Config) -> String {
    if config.routes.iter().all(|route| route.allow_ttl.is_zero() && route.deny_ttl.is_zero()) {
        return "cache: off; every question is asked".to_owned();
    }
    let longest = config.routes.iter().map(|route| route.allow_ttl).max().unwrap_or_default();
    let late = if longest.is_zero() {
        "allows are not remembered".to_owned()
    } else {
        format!("a withdrawn right takes effect after at most {}", format_duration(longest))
    };
    format!("cache: {} answers; {late}", thousands(config.cache.entries as u64))
}

fn spool(config: &Config) -> String {
    let audit = &config.audit;
    let millions = audit.max_size / BYTES_A_RECORD / 1_000_000;
    let records = match millions {
        0 => thousands(audit.max_size / BYTES_A_RECORD),
        _ => format!("{} million", thousands(millions)),
    };
    let size = gibibytes(audit.max_size);
    let without = if config.kafka.is_some() { "without Kafka" } else { "before the oldest are dropped" };
    let (seconds, rate) = (audit.max_size / BYTES_A_RECORD / DECISIONS_A_SECOND, thousands(DECISIONS_A_SECOND));
    let survives = match audit.durability {
        Durability::Written => "the end of the process, not of the power",
        Durability::Synced => "loss of power",
        Durability::Acknowledged => "loss of the machine",
    };
    format!(
        "spool `{}`: {size} holds about {records} records: {} {without} at {rate} decisions/s; a record survives {survives}",
        audit.spool.display(),
        hours(seconds),
    )
}

fn published(config: &Config) -> String {
    match &config.kafka {
        Some(kafka) => format!("records: topic `{}`, checkpoints: `{}`", kafka.topic, kafka.checkpoint_topic),
        None => "records: not published; they stay in the spool".to_owned(),
    }
}

fn traced(config: &Config) -> String {
    match &config.otlp {
        Some(otlp) => format!("traces: {}, {} of plain allows", otlp.endpoint, otlp.sample),
        None => "traces: none".to_owned(),
    }
}

fn signed(config: &Config) -> String {
    let audit = &config.audit;
    let every = humantime::format_duration(audit.checkpoint_every);
    match &audit.signing_key {
        Some(key) => format!("checkpoints: every {every}, signed by {}", key.signer.public().text()),
        None => format!(
            "checkpoints: every {every}, signed by a key in the spool directory, which whoever can write records there can use; \
             `audit.signing_key` keeps it elsewhere"
        ),
    }
}

fn privacy(config: &Config) -> String {
    let Privacy { modes, keys } = &config.audit.privacy;
    if modes.is_plain() {
        return "personal data: `account`, `object`, `reported_ip` plain: names of people, of objects and client addresses, as far as \
                these hold them, are readable in the spool, in Kafka and for whoever reads either"
            .to_owned();
    }
    let people = match modes.account {
        Account::Plain => "names of people and groups are readable (`account` plain)",
        Account::Hmac => "names of people and groups are pseudonyms",
        Account::Drop => "names of people and groups are left out",
    };
    let objects = match modes.object {
        Object::Plain => "object keys are readable, with the names of people that they hold (`object` plain)",
        Object::Prefix => {
            "directories of object keys are readable, with the names of people that they hold, the rest is a pseudonym"
        }
        Object::Hmac => "object keys are pseudonyms",
        Object::Drop => "object keys are left out",
    };
    let addresses = match modes.reported_ip {
        ReportedIp::Plain => "client addresses are readable (`reported_ip` plain)",
        ReportedIp::Truncate => "client addresses are shortened to their /24 or /48",
        ReportedIp::Hmac => "client addresses are pseudonyms",
        ReportedIp::Drop => "client addresses are left out",
    };
    let key = match keys.last() {
        Some(key) => format!("key `{}` is in force, {} in all", key.id, keys.len()),
        None => "there is no key, so that hashes of questions can prove nothing".to_owned(),
    };
    format!(
        "personal data: {people}; {objects}; {addresses}; buckets, policies, KMS keys and identity providers keep their names; {key}"
    )
}

fn quoted<'n>(names: impl Iterator<Item = &'n str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// `4 h 15 min`; days above two of them.
fn hours(seconds: u64) -> String {
    match (seconds / 3_600, seconds / 60 % 60) {
        (0, 0) => format!("{seconds} s"),
        (0, minutes) => format!("{minutes} min"),
        (hours, _) if hours >= 48 => format!("{} days", thousands(hours / 24)),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

/// `1,000`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_spool_in_words() {
        assert_eq!(endurance(20 << 30), "3 h 38 min at 1,000 decisions/s");
        assert_eq!(gibibytes(20 << 30), "20 GiB");
        assert_eq!(hours(400 * 3_600), "16 days");
        assert_eq!(hours(7), "7 s");
        assert_eq!(thousands(1_234_567), "1,234,567");
    }
}
