//! One binary for every test that is not beside its code. `support` starts the release binary; the real parts come from
//! `loadtest::laboratory`.

#![cfg(test)]

mod support;

mod acknowledged; // answers that wait for Kafka
mod authorizer; // the webhook against misbehaving servers
mod backlog; // a start on a spool full of records that Kafka has not got
mod bounds; // descriptors, threads, memory and disk under everything that is too much
mod cache; // hits, lifetimes, questions that share an answer, and which record they name
mod canaries; // no secret in any sink, and no name that is hidden
mod checkpoints; // signed statements about the chain, and the keys that sign
mod clones; // a copied spool, used twice at once
mod combining; // several authorizers, the breaker, dialect authzen
mod config_files; // every shipped configuration, and its documentation
mod consuming; // docs/CONSUMING.md: recipes and an auditor's questions, against a real Kafka
mod crash; // kill -9 under load
mod damage; // a spool damaged at random, thousands of times
mod demo; // the README's first command
mod deploy; // manifests, the compose file, workflows
mod disk_faults; // a disk that refuses or is slow: what is denied, counted and amended
mod drain; // restarts under load: no call fails, no record is missing
mod endings; // connections that are ended, each counted as what it is
mod fail_closed; // every fault ends as a deny with its reason and its record
mod front; // sockets: limits, tokens, paths, bodies, the start-up probe, drain
mod fuzz; // mutated bytes against everything that reads bytes
mod generate; // completions, manual pages, and the schema of the configuration
mod hostile; // a catalogue of hostile input, at the front and from authorizers
mod logs; // told once, never waited for, harmless to a terminal
mod matrix; // every fault under every durability, combination and state of the cache
mod migration; // an old authorizer replaced, under a MinIO that never notices
mod minio; // a real MinIO, a real OPA, a real Kafka
mod observed; // dashboards, traces and exemplars, against a real Prometheus and a real collector
mod ocsf; // records as events of another schema
mod outages; // OPA, Kafka and the disk go away and come back
mod packaging; // the Debian package and the image: files, names, the sample, the health check
mod power; // power cuts, on an ext4 of their own
mod probe; // what `check --probe` says of authorizers, word for word
mod publish; // a spool without its process, and delivered records again
mod publisher; // spool to broker, against librdkafka's mock
mod purge; // answers that are taken back, by whom and with which record
mod reconcile; // decisions beside the audit log of a real MinIO
mod records; // records against their schema and their chain
mod reload; // the configuration read again while it runs
mod replay; // a candidate asked what records hold
mod retired; // a live spool that is read while its oldest segments give way
mod secure; // TLS of the decision endpoint
mod shadow; // authorizers that are only tried out: no answer changes, differences are recorded
mod spool; // the spool on a real directory: damage, locks, limits
mod spool_process; // two processes, a full disk, a directory moved away
mod status; // the page for people, in a real browser
mod strace; // write, sync, answer, as the kernel sees them
mod suspicious; // forged questions on a real MinIO, refused, and honest ones, not
mod syscalls; // every file system call fails once, and is the last once
mod systemd; // what it is told, and the unit
mod telemetry; // spans and metrics
mod tidy; // the house rules
mod tokens; // rotated under a real MinIO
mod topics; // what is said of them at start and by the probe
mod tutorial; // docs/TUTORIAL.md, command by command
mod unprivileged; // as nobody, whatever the umask
mod verify; // the trail's wholeness, by the command and without it
mod version; // which build it says it is, and how the build knows
mod wire; // strict reading, against Go's
mod witness; // completeness against MinIO's audit log, and a workload that counts
