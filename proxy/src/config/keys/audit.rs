//! Keys of the evidence: `[audit]`, `[kafka]`, `[otlp]`. Read through `keys::ROOT`.

use super::{Given, HOUR, Key, MIB, TIB, Takes, key, millis, seconds};

pub static AUDIT: &[Key] = &[
    key(
        "spool",
        Takes::Text,
        Given::Required,
        "Absolute path of the directory that keeps records until Kafka has them.",
    ),
    key(
        "durability",
        Takes::Word(&["written", "synced", "acknowledged"]),
        Given::Default("\"synced\""),
        "What a record must survive before its answer leaves: `written` survives `kill -9`, `synced` power loss, \
         `acknowledged` the machine (Kafka has it).",
    ),
    key(
        "probes",
        Takes::Word(&["written", "synced"]),
        Given::Default("\"written\""),
        "The same for MinIO's metadata probes, which grant no access and make two of the three questions of every GET. \
         They are synced with the next commit.",
    ),
    key(
        "max_size",
        Takes::Size(MIB, 1024 * TIB),
        Given::Default("\"20GiB\""),
        "Size of the spool. Delivered segments give way at once, undelivered ones never: then every answer is a deny.",
    ),
    key(
        "retain_delivered",
        Takes::Time(seconds(0), seconds(365 * 86_400)),
        Given::Default("\"1h\""),
        "How long delivered records are kept for publishing again, while there is room.",
    ),
    key(
        "checkpoint_every",
        Takes::Time(seconds(1), HOUR),
        Given::Default("\"10s\""),
        "How often the chain's head is stated.",
    ),
    key(
        "signing_key",
        Takes::Secret,
        Given::Absent("`signing.key` and its public half are made in the spool directory at first start"),
        "Ed25519 key that signs checkpoints.",
    ),
    key(
        "privacy",
        Takes::Table(PRIVACY),
        Given::Absent("names are recorded as they are"),
        "What becomes of personal data.",
    ),
];

pub static PRIVACY: &[Key] = &[
    key(
        "account",
        Takes::Word(&["plain", "hmac", "drop"]),
        Given::Default("\"plain\""),
        "Account, principal, parent and groups, and the users and groups that admin actions are about.",
    ),
    key(
        "object",
        Takes::Word(&["plain", "prefix", "hmac", "drop"]),
        Given::Default("\"plain\""),
        "Object keys and listed prefixes. `prefix` keeps up to four directories readable and makes a pseudonym of the whole key.",
    ),
    key(
        "reported_ip",
        Takes::Word(&["plain", "truncate", "hmac", "drop"]),
        Given::Default("\"plain\""),
        "The address that MinIO reports for its client, and those of unauthorized attempts. `truncate` keeps the /24 of IPv4, \
         the /48 of IPv6.",
    ),
    key(
        "keys",
        Takes::Tables(PRIVACY_KEY),
        Given::Absent("no pseudonyms"),
        "Keys for pseudonyms. The last one is in force; earlier ones are for `pseudonym`. What pseudonyms promise: EVENTS.md.",
    ),
];

pub static PRIVACY_KEY: &[Key] = &[
    key("id", Takes::Text, Given::Required, "Its name in records (`privacy_key_id`), such as the month it is for."),
    key(
        "file",
        Takes::Text,
        Given::Absent("or `env`"),
        "Path of a file that holds the key: 32 bytes of text or more, as `openssl rand -hex 32` makes it.",
    ),
    key("env", Takes::Text, Given::Absent("or `file`"), "Name of the environment variable that holds the key."),
];

pub static KAFKA: &[Key] = &[
    key("brokers", Takes::Texts, Given::Required, "Brokers to begin with, `host:port`."),
    key("topic", Takes::Text, Given::Required, "Topic of the records; it must exist."),
    key(
        "checkpoint_topic",
        Takes::Text,
        Given::Default("\"countersign.checkpoints\""),
        "Topic of the checkpoints, which auditors may read without seeing a decision.",
    ),
    key(
        "properties",
        Takes::Properties,
        Given::Absent("none"),
        "Properties of librdkafka, such as `\"security.protocol\"`; those that would lose or reorder records are refused.",
    ),
];

pub static OTLP: &[Key] = &[
    key(
        "endpoint",
        Takes::Text,
        Given::Default("\"http://127.0.0.1:4318\""),
        "Collector, OTLP over HTTP; `/v1/traces` is added. `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` and \
         `OTEL_EXPORTER_OTLP_ENDPOINT` come before the default and after what is written here.",
    ),
    key(
        "headers",
        Takes::Properties,
        Given::Absent("`OTEL_EXPORTER_OTLP_TRACES_HEADERS`, `OTEL_EXPORTER_OTLP_HEADERS`, or none"),
        "Headers sent with every batch.",
    ),
    key("sample", Takes::Share, Given::Default("0.01"), "Share of plain allows that are kept."),
    key(
        "always",
        Takes::Words(&["deny", "fault", "slow"]),
        Given::Default("[\"deny\", \"fault\", \"slow\"]"),
        "Kept whatever `sample` says. Advisory denies are sampled like allows.",
    ),
    key("slow", Takes::Time(millis(1), seconds(60)), Given::Default("\"250ms\""), "From when on a decision is slow."),
];
