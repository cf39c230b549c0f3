//! Keys of the doors and of the log: `[listen]`, `[admin]`, `[log]`. Read through `keys::ROOT`.

use super::{Given, HOUR, KIB, Key, MIB, Takes, key, millis, seconds};

/// Half of it would be gone with the 250 ms that are kept for the record.
pub const LEAST_DEADLINE: std::time::Duration = millis(500);

pub static LISTEN: &[Key] = &[
    key(
        "address",
        Takes::Address,
        Given::Required,
        "IP address and port of the decision endpoint. MinIO should reach it on the same host or over a private network.",
    ),
    key(
        "path",
        Takes::Text,
        Given::Default("\"/\""),
        "Path of the decision endpoint, matched exactly; the query is ignored. Anything else is `unknown_path`.",
    ),
    key(
        "tokens",
        Takes::Tables(TOKEN),
        Given::Absent("an error off loopback; on loopback the header is not looked at and the client is `local`"),
        "What MinIO sends in `Authorization`, verbatim; several while rotating.",
    ),
    key("tls", Takes::Table(LISTEN_TLS), Given::Absent("plain HTTP"), "Certificate of the decision endpoint."),
    key(
        "read_timeout",
        Takes::Time(millis(100), seconds(300)),
        Given::Default("\"10s\""),
        "From accepting a connection to its first byte, and from the first byte of a question to its last. Between \
         questions `keepalive` counts. From 10 s on a new connection may stay silent for 16 s at least: MinIO dials ahead, \
         and uses what it has dialed within 15 s.",
    ),
    key(
        "deadline",
        Takes::Time(LEAST_DEADLINE, seconds(60)),
        Given::Default("\"2s\""),
        "From the last byte of a question to the answer; then deny. 250 ms of it are kept for the record, and S3 clients \
         feel all of it.",
    ),
    key(
        "max_body",
        Takes::Size(4 * KIB, 64 * MIB),
        Given::Default("\"1MiB\""),
        "Longest question. MinIO's own header limits keep questions far below 1 MiB.",
    ),
    key(
        "max_in_flight",
        Takes::Count(1, 1_000_000),
        Given::Default("4096"),
        "Questions at once. Beyond it one waits within the deadline, then `overload`.",
    ),
    key(
        "keepalive",
        Takes::Time(seconds(1), HOUR),
        Given::Default("\"75s\""),
        "How long an idle connection stays open. MinIO closes its own after 15 s and never repeats a question that was \
         cut off, so ours must be the longer one.",
    ),
    key(
        "drain",
        Takes::Time(seconds(0), seconds(600)),
        Given::Default("\"17s\""),
        "On SIGTERM: not ready and `Connection: close` for this long, then exit. Longer than MinIO's 15 s.",
    ),
    key(
        "suspicious",
        Takes::Word(&["record", "deny"]),
        Given::Default("\"record\""),
        "What happens to questions whose conditions bear signs of forging: recorded, or denied too.",
    ),
];

pub static TOKEN: &[Key] = &[
    key("name", Takes::Text, Given::Required, "The client's name in records, routes and metrics."),
    key(
        "file",
        Takes::Text,
        Given::Absent("or `env`"),
        "Path of a file with the token: its content verbatim, one trailing newline stripped.",
    ),
    key("env", Takes::Text, Given::Absent("or `file`"), "Name of the environment variable that holds the token."),
];

pub static LISTEN_TLS: &[Key] = &[
    key("certificate", Takes::Text, Given::Required, "PEM file: the certificate and its chain."),
    key("key", Takes::Text, Given::Required, "PEM file: the private key."),
    key("http2", Takes::Flag, Given::Default("false"), "Also offer HTTP/2. MinIO uses it only if told to."),
];

pub static ADMIN: &[Key] = &[
    key(
        "address",
        Takes::Address,
        Given::Default("\"127.0.0.1:9281\""),
        "IP address and port of `/status`, `/metrics`, `/livez`, `/readyz` and `/purge`. On loopback unless said.",
    ),
    key(
        "token",
        Takes::Secret,
        Given::Absent("on loopback whoever is on this machine may; elsewhere what changes state is refused"),
        "Sent in `Authorization`, verbatim, by whoever changes state, that is, purges the cache.",
    ),
];

pub static LOG: &[Key] = &[
    key("format", Takes::Word(&["json", "text"]), Given::Default("\"json\""), "One JSON object a line, or for people."),
    key(
        "level",
        Takes::Word(&["error", "warn", "info", "debug", "trace"]),
        Given::Default("\"info\""),
        "How much. Decisions are never in it: they are in the audit trail.",
    ),
];
