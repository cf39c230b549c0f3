//! Keys of who decides and what is remembered: `[[authorizer]]`, `[[route]]`, `[cache]`. Read through `keys::ROOT`.

use super::{Given, HOUR, Key, Takes, key, millis, seconds};

pub static AUTHORIZER: &[Key] = &[
    key("name", Takes::Text, Given::Required, "Name in routes, records and metrics: 1 to 64 of `A-Z a-z 0-9 . _ -`."),
    key("url", Takes::Text, Given::Required, "Where it is asked: `http` or `https`, path and query kept."),
    key(
        "dialect",
        Takes::Word(&["minio", "authzen"]),
        Given::Default("\"minio\""),
        "How question and answer are written.",
    ),
    key(
        "timeout",
        Takes::Time(millis(1), seconds(60)),
        Given::Default("\"500ms\""),
        "One attempt, from asking to the last byte of the answer.",
    ),
    key(
        "retries",
        Takes::Count(0, 10),
        Given::Default("1"),
        "Attempts after the first, within the deadline. One mends a connection that was closed while idle.",
    ),
    key(
        "retry_on",
        Takes::Words(&["dns", "connect", "tls", "connection_lost", "timeout"]),
        Given::Default("[\"connect\", \"connection_lost\"]"),
        "Faults after which it is asked again. `timeout` is left out so that a slow authorizer is not asked twice as much.",
    ),
    key(
        "max_in_flight",
        Takes::Count(1, 1_000_000),
        Given::Default("512"),
        "Questions to it at once. Beyond it one waits up to `timeout`, then `authorizer_busy`.",
    ),
    key(
        "cache_control",
        Takes::Word(&["honour", "ignore"]),
        Given::Default("\"honour\""),
        "Whether its `Cache-Control` may shorten a lifetime. Some frameworks say `no-store` on everything.",
    ),
    key("token", Takes::Secret, Given::Absent("no `Authorization` is sent"), "Sent as `Authorization`, verbatim."),
    key("tls", Takes::Table(AUTHORIZER_TLS), Given::Absent("the system's authorities"), "For `https` only."),
    key("breaker", Takes::Table(BREAKER), Given::Absent("defaults"), "When it is left alone for a while."),
    key(
        "deny_only",
        Takes::Word(&["ask", "deny"]),
        Given::Default("\"ask\""),
        "Questions with `denyOnly`. An authorizer known to ignore that member is better not asked: `deny`.",
    ),
];

pub static AUTHORIZER_TLS: &[Key] = &[
    key("ca", Takes::Text, Given::Absent("the system's authorities"), "PEM file: the authorities it is trusted by."),
    key("certificate", Takes::Text, Given::Absent("no client certificate"), "PEM file: our certificate; needs `key`."),
    key("key", Takes::Text, Given::Absent("no client certificate"), "PEM file: our private key; needs `certificate`."),
    key(
        "server_name",
        Takes::Text,
        Given::Absent("the host of `url`"),
        "Name that its certificate must bear; never empty, for then nothing would be verified.",
    ),
];

pub static BREAKER: &[Key] = &[
    key(
        "failures",
        Takes::Count(1, 10_000),
        Given::Default("10"),
        "Questions in a row that ended in `timeout`, `dns`, `connect`, `tls` or `connection_lost`. An answer read to its \
         end starts the count again.",
    ),
    key("open_for", Takes::Time(millis(100), HOUR), Given::Default("\"5s\""), "How long it is not asked."),
];

pub static ROUTE: &[Key] = &[
    key("name", Takes::Text, Given::Required, "Name in records and metrics: 1 to 64 of `A-Z a-z 0-9 . _ -`."),
    key("match", Takes::Table(MATCH), Given::Absent("everything"), "What it is for. All of the lists must match."),
    key("ask", Takes::Texts, Given::Required, "Names of authorizers."),
    key(
        "combine",
        Takes::Word(&["first", "all", "any"]),
        Given::Default("\"first\""),
        "`first`: the next only on a fault. `all`: every one must allow. `any`: one allow is enough.",
    ),
    key(
        "shadow",
        Takes::Texts,
        Given::Default("[]"),
        "Authorizers asked when `ask` was asked, never waited for; differences are recorded.",
    ),
    key("cache", Takes::Table(ROUTE_CACHE), Given::Absent("what `[cache]` says"), "Lifetimes for this route."),
];

pub static MATCH: &[Key] = &[
    key("client", Takes::Texts, Given::Default("[\"*\"]"), "Globs over the name of the client's token."),
    key("action", Takes::Texts, Given::Default("[\"*\"]"), "Globs over the action, such as `s3:*`."),
    key("bucket", Takes::Texts, Given::Default("[\"*\"]"), "Globs over the bucket; `*` matches no bucket, too."),
    key("account", Takes::Texts, Given::Default("[\"*\"]"), "Globs over the access key; `*` matches anonymous, too."),
];

pub static ROUTE_CACHE: &[Key] = &[
    key(
        "allow_ttl",
        Takes::Time(seconds(0), HOUR),
        Given::Absent("what `[cache]` says"),
        "How long an allow is remembered.",
    ),
    key(
        "deny_ttl",
        Takes::Time(seconds(0), HOUR),
        Given::Absent("what `[cache]` says"),
        "How long a deny is remembered.",
    ),
];

pub static CACHE: &[Key] = &[
    key("entries", Takes::Count(1, 100_000_000), Given::Default("100000"), "Answers remembered, at most 250 B each."),
    key(
        "allow_ttl",
        Takes::Time(seconds(0), HOUR),
        Given::Default("\"10s\""),
        "How long an allow is remembered, and so how late a withdrawn right takes effect. `0s` turns it off.",
    ),
    key(
        "deny_ttl",
        Takes::Time(seconds(0), HOUR),
        Given::Default("\"2s\""),
        "How long a deny is remembered: short, for someone has just been told to try again.",
    ),
    key(
        "ignore",
        Takes::Texts,
        Given::Default("[]"),
        "Condition keys left out of the cache key, besides the built-in list.",
    ),
    key(
        "ignore_defaults",
        Takes::Flag,
        Given::Default("true"),
        "Whether the built-in list of condition keys is left out.",
    ),
    key(
        "actions",
        Takes::Texts,
        Given::Default("[\"s3:*\"]"),
        "Globs over actions whose answers are remembered. `admin:*` and `kms:*` only if said: they are rare and weigh more.",
    ),
    key(
        "recheck",
        Takes::Share,
        Given::Default("0.0"),
        "Share of hits asked again, after their answer, to prove the key; a lasting difference switches that route's cache \
         off. Above 0 up to 16 MiB of questions are held in memory as they were sent.",
    ),
];
