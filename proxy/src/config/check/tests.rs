//! Bad configurations and exactly what is said about them.

use crate::config::{Diagnostics, Loaded, parse};

const BASE: &str = r#"[listen]
address = "127.0.0.1:8281"
[[authorizer]]
name = "opa"
url = "http://127.0.0.1:8181/v1/data/minio/allow"
[audit]
spool = "/var/lib/countersign"
[kafka]
brokers = ["127.0.0.1:9092"]
topic = "countersign.decisions"
"#;

fn env(name: &str) -> Option<String> {
    match name {
        "TOKEN" => Some("Bearer hunter2".to_owned()),
        "EMPTY" => Some(String::new()),
        "LINES" => Some("a\nb".to_owned()),
        "KEY" => Some("hunter2, and as much more as a key needs".to_owned()),
        "OTHER" => Some("another hunter2, and as much more as a key needs".to_owned()),
        _ => None,
    }
}

fn read(text: &str) -> Result<Loaded, Diagnostics> {
    parse(text, "c.toml", &env)
}

/// Replaces a part of the good file and expects exactly these lines, `c.toml` left out.
fn says(part: &str, by: &str, expected: &[&str]) {
    assert!(BASE.contains(part), "{part}");
    let text = BASE.replacen(part, by, 1);
    let all = match read(&text) {
        Ok(loaded) => loaded.warnings,
        Err(diagnostics) => diagnostics.all,
    };
    let said: Vec<String> = all.iter().map(|one| one.to_string().trim_start_matches("c.toml:").to_owned()).collect();
    assert_eq!(said, expected, "in\n{text}");
    assert!(said.iter().all(|line| !line.contains("hunter2")), "a secret is shown");
}

/// Lines put before a table of the good file, and so at the end of the one before it.
fn before(table: &str, lines: &str, expected: &[&str]) {
    says(table, &format!("{lines}\n{table}"), expected);
}

#[test]
fn the_good_file_is_good() {
    says("opa", "opa", &[]);
}

#[test]
fn unknown_and_missing_keys() {
    let address = r#"`listen.address` is missing: an IP address with a port, such as "127.0.0.1:8281""#;
    says(
        "address",
        "adress",
        &[&format!("1:1: {address}"), "2:1: unknown key `listen.adress`; did you mean `address`?"],
    );
    says("[listen]", "[lisen]", &[&format!(" {address}"), "1:2: unknown key `lisen`; did you mean `listen`?"]);
    before(
        "[audit]",
        "deadline = \"1s\"\nbrekaer = 1\nzzz = 1",
        &[
            "6:1: unknown key `authorizer.deadline`; did you mean `listen.deadline`?",
            "7:1: unknown key `authorizer.brekaer`; did you mean `breaker`?",
            "8:1: unknown key `authorizer.zzz`",
        ],
    );
    says(
        "[kafka]\nbrokers = [\"127.0.0.1:9092\"]\ntopic",
        "[kafka]\ntopik",
        &[
            "8:1: `kafka.brokers` is missing: a list of texts",
            "8:1: `kafka.topic` is missing: a text",
            "9:1: unknown key `kafka.topik`; did you mean `topic`?",
        ],
    );
    says("[[authorizer]]", "[authorizer]", &["3:1: `authorizer` is a list of tables: write `[[authorizer]]`"]);
    says(
        "[[authorizer]]\nname = \"opa\"\nurl = \"http://127.0.0.1:8181/v1/data/minio/allow\"\n",
        "",
        &[" `[[authorizer]]` is missing: somebody must decide, for Countersign does not"],
    );
}

#[test]
fn syntax_is_tomls_own_message() {
    says("[kafka]", "[kafka", &["8:7: unclosed table, expected `]`"]);
    before("[kafka]", "spool = \"/x\"", &["8:1: duplicate key `spool`"]);
    before("[audit]", "token = hunter2", &["6:9: string values must be quoted, expected literal string"]);
}

#[test]
fn wrong_types_words_and_bounds_in_one_run() {
    let lines = "address = \"localhost:8281\"\ndeadline = \"400ms\"\nmax_body = 5\nkeepalive = \"10s\"\n\
                 max_in_flight = 0\nsuspicious = \"Deny\"\npath = \"x\"\ndrain = 17";
    says(
        "address = \"127.0.0.1:8281\"",
        lines,
        &[
            r#"2:11: `listen.address` takes an IP address with a port, such as "127.0.0.1:8281", not `"localhost:8281"`"#,
            r#"3:12: `listen.deadline` is `"400ms"`, but takes a duration with its unit, "500ms" to "1m""#,
            r#"4:12: `listen.max_body` takes a size with its unit, "4KiB" to "64MiB", not `5`"#,
            "5:13: warning: `listen.keepalive` should be above 15s: MinIO keeps idle connections that long, and a question \
         on one that we close is denied",
            "6:17: `listen.max_in_flight` is `0`, but takes a number from 1 to 1000000",
            "7:14: `listen.suspicious` does not know `Deny`; did you mean `deny`?",
            "8:8: `listen.path` is `x`, but begins with `/` and has no query, space or fragment",
            r#"9:9: `listen.drain` takes a duration with its unit, "0s" to "10m", not `17`"#,
        ],
    );
    before(
        "[kafka]",
        "durability = \"sync\"\nmax_size = \"20\"\n[log]\nlevel = \"warning\"",
        &[
            "8:14: `audit.durability` does not know `sync`; did you mean `synced`?",
            r#"9:12: `audit.max_size` takes a size with its unit, "1MiB" to "1PiB", not `"20"`"#,
            "11:9: `log.level` does not know `warning`; it takes `error`, `warn`, `info`, `debug` or `trace`",
        ],
    );
    let long = format!("name = \"{}\"", "x".repeat(65));
    let message = format!("4:8: `authorizer.name` is `{}`, but takes 1 to 64 of A-Z a-z 0-9 . _ -", "x".repeat(65));
    says("name = \"opa\"", &long, &[&message]);
    says(
        "/var/lib/countersign",
        "var",
        &["7:9: `audit.spool` is `var`, but takes the absolute path of a directory without `..`"],
    );
}

#[test]
fn doors_do_not_stand_open_or_collide() {
    says(
        "127.0.0.1:8281",
        "0.0.0.0:8281",
        &["2:11: `listen.tokens` is missing: whoever reaches `0.0.0.0:8281`, which is not loopback, could ask"],
    );
    says(
        "127.0.0.1:8281",
        "127.0.0.1:9281",
        &["2:11: `admin.address` `127.0.0.1:9281` is taken by `listen.address` `127.0.0.1:9281`"],
    );
    says(
        "[listen]",
        "[admin]\naddress = \"0.0.0.0:8281\"\n[listen]",
        &["2:11: `admin.address` `0.0.0.0:8281` is taken by `listen.address` `127.0.0.1:8281`"],
    );
    says("127.0.0.1:8281", "[::1]:8281", &[]);
}

#[test]
fn urls_of_authorizers() {
    let address = "http://127.0.0.1:8181/v1/data/minio/allow";
    says("http://", "http://user:hunter2@", &["5:7: the URL of `authorizer.url` has a user and password; use `token`"]);
    says(address, "opa", &["5:7: the URL `opa` of `authorizer.url` must begin with `http://` or `https://`"]);
    says(
        "[audit]",
        "tls = { ca = \"/nowhere\" }\n[audit]",
        &["6:7: `authorizer.tls` is for https, but the URL is `http://127.0.0.1:8181/v1/data/minio/allow`"],
    );
    says(
        &format!("{address}\""),
        "https://opa/\"\ntls = { ca = \"/nowhere\", key = \"/x\", server_name = \"\" }",
        &[
            "6:14: cannot read `/nowhere`: no such file or directory",
            "6:32: `authorizer.tls.key` needs `certificate`",
            "6:52: `authorizer.tls.server_name` takes a host name; an empty one would verify nothing",
        ],
    );
}

#[test]
fn routes_say_who_decides() {
    let second = "[[authorizer]]\nname = \"new-opa\"\nurl = \"http://127.0.0.1:8182/\"";
    before(
        "[audit]",
        second,
        &["7:8: two authorizers and no `[[route]]`: which one decides? `new-opa` would become a fallback of `opa`"],
    );
    let route = "[[route]]\nname = \"r\"\nask = [\"oba\", \"opa\", \"opa\"]\ncombine = \"frist\"\n\
                 match = { bucket = [], client = [\"x\"] }\nshadow = 5";
    before(
        "[audit]",
        &format!("{second}\n{route}"),
        &[
            "7:8: warning: authorizer `new-opa` is never asked: no route names it",
            "11:8: no authorizer is named `oba`; did you mean `opa`?",
            "11:22: authorizer `opa` stands here twice",
            "12:11: `route.combine` does not know `frist`; did you mean `first`?",
            "13:20: `route.match.bucket` is an empty list, which matches nothing; leave it out to match all",
            "13:34: warning: no client's name matches `x`",
            "14:10: `route.shadow` takes a list of texts, not `5`",
        ],
    );
    let two = "[[route]]\nname = \"all\"\nask = [\"opa\", \"new-opa\"]\n[[route]]\nname = \"all\"\nask = [\"opa\"]";
    before(
        "[audit]",
        &format!("{second}\n{two}"),
        &[
            "11:7: warning: the attempts of route `all` can take 2s, but a deadline of 2s leaves 1s 750ms: the last of them \
         would be cut off",
            "13:8: route `all` stands here twice",
            "13:8: warning: route `all` is never reached: `all` before it matches everything",
        ],
    );
    let narrow = "[[route]]\nname = \"photos\"\nmatch = { bucket = [\"photos\"] }\nask = [\"opa\"]";
    before(
        "[audit]",
        narrow,
        &["6:1: warning: no route matches everything: questions that no route matches are denied (`no_route`)"],
    );
}

#[test]
fn librdkafka_is_handed_nothing_that_it_would_wait_for() {
    says(
        "topic =",
        "properties = { \"ssl.ca.location\" = \"/dev/zero\", \"ssl.crl.location\" = \"/nowhere\" }\ntopic =",
        &["10:36: `/dev/zero` is neither a regular file nor a directory"],
    );
}

#[test]
fn what_would_lose_records_is_refused() {
    let properties = "properties = { acks = 1, security.protocol = \"x\", \"linger.ms\" = 5, \"x\" = 1.5, \
                      \"sasl.password\" = { env = \"NONE\" } }\ntopic =";
    says(
        "topic =",
        properties,
        &[
            "10:16: `acks` cannot be set: a record counts as published only when all replicas in sync have it",
            "10:26: `kafka.properties` has a table `security`; a name with a dot is quoted: `\"security.protocol\"`",
            "10:74: `x` takes a text, a number, true or false, { file = \"…\" } or { env = \"…\" }",
            "10:105: environment variable `NONE` is not set",
        ],
    );
    let values = "properties = { \"a b\" = 1, x = 99999999999999999999, y = \"a\\u0000b\", z = 0x10 }\ntopic =";
    let takes = "takes a text, a number, true or false, { file = \"…\" } or { env = \"…\" }";
    says(
        "topic =",
        values,
        &[
            "10:16: `a b` is no name of a property of librdkafka",
            &format!("10:31: `x` {takes}"),
            &format!("10:57: `y` {takes}"),
        ],
    );
    says(
        "topic =",
        "properties = { \"topic.acks\" = 1, \"enable_sasl_queue\" = true, \"sasl.jaas.config\" = { file = \"/no\" } }\ntopic =",
        &[
            "10:16: `topic.acks` cannot be set: a record counts as published only when all replicas in sync have it",
            "10:34: `enable_sasl_queue` cannot be set: tokens are asked for where this program answers",
            "10:62: `sasl.jaas.config` cannot be set: it is Java's: write `sasl.username` and `sasl.password`, or `sasl.oauthbearer.config`",
        ],
    );
    let inline =
        "properties = { \"sasl.password\" = \"hunter2\", \"enable.ssl.certificate.verification\" = false }\ntopic =";
    says(
        "topic =",
        inline,
        &[
            "10:16: warning: `sasl.password` is written here for all who read this file; { file = \"…\" } or { env = \"…\" } is not",
            "10:45: warning: `enable.ssl.certificate.verification = false`: whoever answers is taken for Kafka",
        ],
    );
    says(
        "countersign.decisions",
        "countersign.checkpoints",
        &["10:9: `kafka.topic` and `kafka.checkpoint_topic` are both `countersign.checkpoints`"],
    );
    says(
        "127.0.0.1:9092\"",
        "SASL_SSL://k:1\", \"k\"",
        &[
            "9:12: `SASL_SSL://k:1` is a URL: write `host:port`, and `security.protocol` in `properties`",
            "9:30: `k` is not a broker: write `host:port`",
        ],
    );
    says(
        "[kafka]\nbrokers = [\"127.0.0.1:9092\"]\ntopic = \"countersign.decisions\"",
        "durability = \"acknowledged\"",
        &[
            "6:1: warning: without `[kafka]` no record leaves this machine, and once 20 GiB are full the oldest ones are \
         dropped: after 3 h 38 min at 1,000 decisions/s",
            "8:14: `audit.durability = \"acknowledged\"` needs `[kafka]`: nobody else could acknowledge",
        ],
    );
}

#[test]
fn what_asks_for_what_it_has_or_has_not_is_refused() {
    let authorizer = "[[route]]\nname = \"r\"\nask = [\"opa\"]\nshadow = [\"opa\", \"opb\"]";
    before(
        "[audit]",
        authorizer,
        &[
            "9:11: `opa` is asked by this route already; a shadow is another one",
            "9:18: no authorizer is named `opb`; did you mean `opa`?",
        ],
    );
    let audit = "signing_key = { env = \"TOKEN\" }\nprivacy = { account = \"hmac\", object = \"plian\" }";
    before(
        "[kafka]",
        audit,
        &[
            "8:15: `audit.signing_key`: not an Ed25519 key in the form of C2SP signed notes: malformed verifier key; `countersign keygen` makes one",
            "9:23: `audit.privacy.account` needs `audit.privacy.keys`",
            "9:40: `audit.privacy.object` does not know `plian`; did you mean `plain`?",
        ],
    );
    // The defaults, written out, ask for nothing.
    before("[audit]", "dialect = \"minio\"", &[]);
    before("[kafka]", "privacy = { account = \"plain\" }", &[]);
}

#[test]
fn spans_go_where_they_are_told() {
    let lines = "[cache]\nallow_ttl = \"10m\"\nentries = 1.5\n[otlp]\nsample = 2\nalways = [\"deny\", \"slwo\"]\n\
                 endpoint = \"x\"\nheaders = { \"a b\" = \"c\" }";
    before(
        "[kafka]",
        lines,
        &[
            "9:13: warning: `cache.allow_ttl` is above 5m: a changed right takes effect only after that, or a purge",
            "10:11: `cache.entries` takes a number from 1 to 100000000, not `1.5`",
            "12:10: `otlp.sample` is `2`, but takes a share from 0.0 to 1.0",
            "13:19: `otlp.always` does not know `slwo`; did you mean `slow`?",
            "14:12: the URL `x` of `otlp.endpoint` must begin with `http://` or `https://`",
            "15:13: `a b` is not an HTTP header with a value that fits",
        ],
    );
}

#[test]
fn secrets_are_references_and_never_shown() {
    before(
        "[audit]",
        "token = \"hunter2\"",
        &["6:9: `authorizer.token` takes { file = \"…\" } or { env = \"…\" }; a secret is never written here"],
    );
    before(
        "[audit]",
        "token = { env = \"NONE\" }\n[admin]\ntoken = { env = \"EMPTY\", file = \"/x\" }",
        &["6:17: environment variable `NONE` is not set", "8:9: `admin.token` takes `file` or `env`, not both"],
    );
    before(
        "[audit]",
        "token = { env = \"LINES\" }\n[admin]\ntoken = {}",
        &[
            "6:17: environment variable `LINES` does not fit: it has more than one line, a space at an end, or a character \
         that is not visible ascii",
            "8:9: `admin.token` needs `file` or `env`",
        ],
    );
    before("[[authorizer]]", "tokens = [\"hunter2\"]", &["3:11: `listen.tokens` takes a list of tables"]);
    before("[kafka]", "[otlp]\nheaders = \"hunter2\"", &["9:11: `otlp.headers` takes a table"]);
    before("[audit]", "token = { env = \"EMPTY\" }", &["6:17: environment variable `EMPTY` is empty"]);
    before("[audit]", "token = { env = \"TOKEN\" }", &[]);
}

#[test]
fn what_the_file_holds_starts_no_line_of_its_own() {
    before(
        "[audit]",
        "token = { env = \"a\\nb\" }\n\"x\\ny\" = 1\ndialect = \"\\u001b[2J\"",
        &[
            "6:17: environment variable `a\\nb` is not set",
            "7:1: unknown key `authorizer.x\\ny`",
            "8:11: `authorizer.dialect` does not know `\\u{1b}[2J`; it takes `minio` or `authzen`",
        ],
    );
}

#[test]
fn privacy_is_never_plain_for_want_of_a_key() {
    before(
        "[kafka]",
        "privacy = { account = \"hmac\", object = \"prefix\", reported_ip = \"hmac\" }",
        &[
            "8:23: `audit.privacy.account` needs `audit.privacy.keys`",
            "8:40: `audit.privacy.object` needs `audit.privacy.keys`",
            "8:64: `audit.privacy.reported_ip` needs `audit.privacy.keys`",
        ],
    );
    let keys = "[audit.privacy]\naccount = \"hmac\"\nkeys = [\n{ id = \"a\", file = \"/nowhere/key\" },\n{ id = \"b\", env = \"UNSET\" },\n\
                { id = \"c\", env = \"TOKEN\" },\n{ id = \"c d\", env = \"KEY\" },\n{ id = \"a\", env = \"KEY\" },\n{ env = \"OTHER\" }]";
    before(
        "[kafka]",
        keys,
        &[
            "11:20: cannot read `/nowhere/key`: no such file or directory",
            "12:19: environment variable `UNSET` is not set",
            "13:19: this is no privacy key: it has 14 bytes, a key has 32 or more: `openssl rand -hex 32` makes one",
            "14:8: `audit.privacy.keys.id` is `c d`, but takes 1 to 64 of A-Z a-z 0-9 . _ -",
            "15:1: the privacy keys `c d` and `a` are the same key",
            "15:8: privacy key `a` stands here twice",
            "16:1: `audit.privacy.keys.id` is missing: a text",
        ],
    );
    let unused = "privacy = { keys = [{ id = \"a\", env = \"KEY\" }] }";
    let warning =
        "8:20: warning: `audit.privacy.keys` are not used: accounts, objects and addresses are recorded plain";
    before("[kafka]", unused, &[warning]);
    // Neither needs a key.
    before("[kafka]", "privacy = { account = \"drop\", object = \"drop\", reported_ip = \"truncate\" }", &[]);
}
