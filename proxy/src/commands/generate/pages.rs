//! What a manual page says beside what the arguments say of themselves: a description, exit status, environment, files
//! and examples, by command. Texts only; `manual` writes them, and tests hold them against the commands.

/// One command's part. What is in backticks is shown bold.
pub struct Page {
    pub name: &'static str,
    /// Paragraphs.
    pub about: &'static [&'static str],
    pub exits: &'static [(u8, &'static str)],
    pub environment: &'static [(&'static str, &'static str)],
    pub files: &'static [(&'static str, &'static str)],
    /// What it does, and the line.
    pub examples: &'static [(&'static str, &'static str)],
    /// Other commands.
    pub see: &'static [&'static str],
}

pub fn of(name: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.name == name)
}

const COULD_NOT: (u8, &str) = (2, "It could not run; standard error says why.");
const USAGE: (u8, &str) = (64, "Wrong usage, or mistakes in the configuration.");

const CONFIG_VARIABLE: (&str, &str) = ("COUNTERSIGN_CONFIG", "The configuration file, where none is given.");
const CONFIG_FILE: (&str, &str) = (
    "/etc/countersign/countersign.toml",
    "The configuration, unless another one is given or the environment names one.",
);

/// For commands that read records: only the variable, no default file.
const READERS: &[(&str, &str)] =
    &[("COUNTERSIGN_CONFIG", "The configuration that says where records are, where nothing else does.")];

pub static PAGES: &[Page] = &[
    Page {
        name: "countersign",
        about: &[
            "Countersign stands between MinIO's access management plugin and the authorizers that decide, such as OPA. It asks them, \
             reads what they say strictly, denies whatever is not a clear allow, and writes every decision into a durable spool \
             before its answer leaves; from there it goes to Kafka.",
            "`serve` is the proxy. `demo` shows the whole path with nothing installed. `check` says what a configuration means. The \
             other commands read what was recorded, or help to run the proxy. Each has a page of its own.",
        ],
        exits: &[
            (0, "All is well."),
            (1, "The command looked, and found something: a trail that is broken, a deny, a difference."),
            COULD_NOT,
            USAGE,
        ],
        environment: &[CONFIG_VARIABLE],
        files: &[CONFIG_FILE],
        examples: &[("Everything in one process, to look around:", "countersign demo")],
        see: &[],
    },
    Page {
        name: "serve",
        about: &[
            "Answers MinIO's questions on `listen.address`, and serves `/metrics`, `/status`, `/livez` and `/readyz` on `admin.address`. It \
             binds at once and denies until its spool is open, because a MinIO that finds nobody serves root unasked: start it \
             before MinIO.",
            "SIGTERM drains: it goes on answering for `listen.drain`, closes its chain of records, ships what is left for at most five \
             seconds, and ends. SIGINT does the same without draining. SIGHUP reads the configuration again, and so does a change of \
             the file or of a file that it names; it is put in force as a whole or not at all.",
        ],
        exits: &[(0, "It was stopped in order."), COULD_NOT, USAGE],
        environment: &[
            CONFIG_VARIABLE,
            (
                "OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                "The collector, where `[otlp]` is there and does not say.",
            ),
            (
                "OTEL_EXPORTER_OTLP_HEADERS, OTEL_EXPORTER_OTLP_TRACES_HEADERS",
                "Headers for it, where `[otlp]` does not say.",
            ),
            ("OTEL_SDK_DISABLED", "`true` switches traces off, whatever `[otlp]` says."),
            ("NOTIFY_SOCKET, WATCHDOG_USEC", "Set by systemd, and answered."),
        ],
        files: &[
            CONFIG_FILE,
            (
                "audit.spool",
                "The directory of records that Kafka has not got, with `signing.key` and `signing.pub` if no other key is given.",
            ),
        ],
        examples: &[(
            "With a configuration of your own:",
            "countersign check my.toml && countersign serve --config my.toml",
        )],
        see: &["check", "tail"],
    },
    Page {
        name: "demo",
        about: &[
            "Starts an authorizer, a broker and Countersign in one process, asks sample questions as MinIO would, shows the decisions as \
             they came out of the stream, and prints the two settings that attach a real MinIO. Then it serves on until Ctrl-C. \
             What it writes is in a temporary directory, and gone afterwards.",
        ],
        exits: &[(0, "The tour was shown."), COULD_NOT, USAGE],
        environment: &[],
        files: &[],
        examples: &[("The tour alone:", "countersign demo --exit")],
        see: &["serve"],
    },
    Page {
        name: "check",
        about: &[
            "Prints every mistake at once, each with its line, its column and the nearest name that exists; and of a file without mistakes \
             what it means in numbers, such as how long the spool lasts while Kafka is away. It asks nobody and binds nothing.",
            "With `--probe` it asks every authorizer what it is, how it answers and how fast, and looks at the settings of the Kafka topics, \
             with the command that mends each.",
            "With `--alive` it reads no file: it only asks the admin listener of a running Countersign whether it answers, for a health check.",
        ],
        exits: &[
            (0, "The file can be used. Warnings alone are 0, too."),
            (1, "`--probe` found something that costs something; or `--alive` found nobody who is alive."),
            (2, "The file cannot be read; or with `--probe`, somebody who was asked did not answer."),
            (64, "Wrong usage, or the file has mistakes."),
        ],
        environment: &[
            CONFIG_VARIABLE,
            ("COUNTERSIGN_ADMIN", "Whose admin listener `--alive` asks, where `--admin` does not say."),
        ],
        files: &[CONFIG_FILE],
        examples: &[
            ("What a file means:", "countersign check my.toml"),
            ("And what it names:", "countersign check --probe my.toml"),
            ("A health check:", "countersign check --alive"),
        ],
        see: &["serve", "schema"],
    },
    Page {
        name: "tail",
        about: &[
            "Shows records as they come, a line each: from Kafka, from a spool, or from a file. It begins with the next record unless told \
             otherwise, and goes on until Ctrl-C. A record is shown once, also where it was delivered twice.",
        ],
        exits: &[(0, "All that was asked for was shown."), COULD_NOT, USAGE],
        environment: &[
            ("COUNTERSIGN_CONFIG", "The configuration that says where records are, where nothing else does."),
            ("NO_COLOR", "No colours."),
        ],
        files: &[],
        examples: &[
            ("Who is refused now:", "countersign tail --brokers kafka:9092 --topic countersign.decisions --deny"),
            (
                "What alice did in the last hour, as JSON:",
                "countersign tail --spool /var/lib/countersign --since 1h --no-follow --account alice --json",
            ),
        ],
        see: &["explain", "verify"],
    },
    Page {
        name: "explain",
        about: &[
            "Finds a decision by its id, by who, what and when, or by MinIO's request id and its audit log, and says in sentences who asked \
             for what, who decided and after which attempts; of a fault also whom to blame and what to do.",
        ],
        exits: &[
            (0, "What was found was allowed."),
            (1, "A deny was explained."),
            (2, "Nothing was found, or it could not run."),
            USAGE,
        ],
        environment: READERS,
        files: &[],
        examples: &[
            (
                "A denial of about ten minutes ago:",
                "countersign explain --config my.toml --account bob --object 'reports/*' --time 10m",
            ),
            (
                "From the request id that a user was shown:",
                "countersign explain --config my.toml --request-id 17F0A1B2C3D4E5F6 --minio-audit audit.jsonl",
            ),
        ],
        see: &["tail", "reconcile"],
    },
    Page {
        name: "reconcile",
        about: &[
            "Joins the decisions with MinIO's own audit log by the hash of a request's signature, and counts every operation and every \
             decision into one class: operations that MinIO served without a decision, decisions without an operation, and what \
             explains the rest. The report ends with what such a comparison cannot know.",
        ],
        exits: &[(0, "Nothing is unexplained."), (1, "Something is."), COULD_NOT, USAGE],
        environment: READERS,
        files: &[],
        examples: &[(
            "The last day, of two nodes:",
            "countersign reconcile --config my.toml --since 24h --minio-audit node1.jsonl --minio-audit node2.jsonl",
        )],
        see: &["explain", "verify"],
    },
    Page {
        name: "verify",
        about: &[
            "Says whether the trail is `whole`, `whole, gaps declared` (a record names what is missing, or how a process ended) or `broken`, and \
             at which records. It looks for gaps, changes, copies with other bytes, forks, and chains that never closed; with \
             `--public-key` also for what was forged, and with `--checkpoint-topic`, or the one of a configuration, for what was cut off.",
            "Records that retention took from the start are no fault, unless `--complete-since` says that they must be there.",
        ],
        exits: &[(0, "Whole, with or without declared gaps."), (1, "Broken."), COULD_NOT, USAGE],
        environment: READERS,
        files: &[(
            "signing.pub",
            "In the spool directory, or what `keygen` wrote: the public half to check signatures with.",
        )],
        examples: &[
            (
                "All there is to check:",
                "countersign verify --brokers kafka:9092 --topic countersign.decisions --checkpoint-topic countersign.checkpoints \
                 --public-key eu1=eu1.pub --instances eu1 --complete-since 90d",
            ),
            ("A spool:", "countersign verify --spool /var/lib/countersign"),
        ],
        see: &["keygen", "publish"],
    },
    Page {
        name: "pseudonym",
        about: &[
            "Prints what records have instead of a name, for staff who hold the key: for `countersign tail --account` and its like. The name is \
             taken byte for byte, as MinIO sends it. Nothing turns a pseudonym back into a name.",
        ],
        exits: &[(0, "It is on standard output."), COULD_NOT, USAGE],
        environment: &[CONFIG_VARIABLE],
        files: &[CONFIG_FILE],
        examples: &[
            ("With the name in no process list:", "countersign pseudonym account < name.txt"),
            ("In every period that there is a key of:", "countersign pseudonym --all object 2026/a.jpg"),
        ],
        see: &["tail", "explain"],
    },
    Page {
        name: "purge",
        about: &[
            "Takes answers of a running Countersign's cache back, through its admin listener. First change the policy, then purge: no answer \
             is used whose question was sent before. One process at a time, for each has a cache of its own.",
        ],
        exits: &[(0, "Every decision that begins from now on is made without them."), COULD_NOT, USAGE],
        environment: &[CONFIG_VARIABLE],
        files: &[CONFIG_FILE],
        examples: &[
            ("A person, with every key derived from theirs:", "countersign purge --account alice"),
            (
                "Everything, of an instance elsewhere:",
                "countersign purge --admin http://10.0.0.7:9281 --token-file /run/secrets/admin --all",
            ),
        ],
        see: &["serve"],
    },
    Page {
        name: "replay",
        about: &[
            "Asks a candidate authorizer what the records hold, and says where it differs from what was decided. Questions are rebuilt from \
             records, which do not hold everything: conditions above all. What the candidate could not be given is printed, too.",
        ],
        exits: &[(0, "It never differs."), (1, "It differs."), COULD_NOT, USAGE],
        environment: &[("COUNTERSIGN_CONFIG", "The configuration, where none is given and one is needed.")],
        files: &[],
        examples: &[(
            "A week's questions to a new policy:",
            "countersign replay --brokers kafka:9092 --topic countersign.decisions --since 7d --url http://127.0.0.1:8182/v1/data/minio/allow",
        )],
        see: &["check", "tail"],
    },
    Page {
        name: "publish",
        about: &[
            "Ships what a spool without its process has not delivered, as that process would have: the same bytes, order and partitions. It \
             takes the spool's lock and moves its cursor, so that it can be interrupted and run again. Starting Countersign on the spool \
             once more is better, where that is possible.",
            "With `--again` it publishes delivered records once more, for a topic that lost them, as long as the spool still has them. It only \
             reads then, and the process may go on.",
        ],
        exits: &[
            (0, "All is published."),
            (1, "All that is whole is published; damage was found, or not every record that was asked for is there."),
            (2, "It could not run, or did not end in time."),
            USAGE,
        ],
        environment: READERS,
        files: &[],
        examples: &[
            (
                "A volume that was left over:",
                "countersign publish --spool /mnt/lost --brokers kafka:9092 --topic countersign.decisions",
            ),
            ("The last two hours once more:", "countersign publish --again --config my.toml --since 2h"),
        ],
        see: &["verify", "serve"],
    },
    Page {
        name: "keygen",
        about: &[
            "Makes an Ed25519 key for `audit.signing_key`, and prints its public half, which auditors need. With `--replaces` the old key endorses \
             the new one, so that whoever trusts the old one goes on. Leave it out if the old key was stolen.",
        ],
        exits: &[(0, "Both files are written."), COULD_NOT, (64, "Wrong usage.")],
        environment: &[],
        files: &[],
        examples: &[
            ("The first key:", "countersign keygen --out eu1.key --name eu1"),
            ("The next one:", "countersign keygen --out eu1-2027.key --name eu1 --replaces eu1.key"),
        ],
        see: &["verify"],
    },
    Page {
        name: "schema",
        about: &[
            "Prints a JSON Schema (2020-12): of the records, for consumers, or of the configuration, for editors and deployment tools.",
        ],
        exits: &[(0, "It is on standard output."), COULD_NOT, (64, "Wrong usage.")],
        environment: &[],
        files: &[],
        examples: &[
            ("For whoever reads the stream:", "countersign schema record"),
            ("For an editor of TOML:", "countersign schema config > countersign.schema.json"),
        ],
        see: &["check"],
    },
];
