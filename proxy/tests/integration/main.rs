//! One binary for every test that is not beside its code. `support` starts the release binary; the real parts come from
//! `loadtest::laboratory`.

#![cfg(test)]

mod support;

mod acknowledged; // answers that wait for Kafka
mod authorizer; // the webhook against misbehaving servers
mod backlog; // a start on a spool full of records that Kafka has not got
mod cache; // hits, lifetimes, and which record they name
mod canaries; // no secret in any sink
mod checkpoints; // signed statements about the chain, and the keys that sign
mod config_files; // every shipped configuration, and its documentation
mod crash; // kill -9 under load
mod damage; // a spool damaged at random, thousands of times
mod demo; // the README's first command
mod disk_faults; // a disk that refuses or is slow: what is denied, counted and amended
mod fail_closed; // every fault ends as a deny with its reason and its record
mod framing; // where a question ends: two ends, no end, and what follows it
mod front; // sockets: limits, tokens, paths, bodies, the start-up probe, drain
mod minio; // a real MinIO, a real OPA, a real Kafka
mod observed; // dashboards, traces and exemplars, against a real Prometheus and a real collector
mod outages; // OPA, Kafka and the disk go away and come back
mod power; // power cuts, on an ext4 of their own
mod publisher; // spool to broker, against librdkafka's mock
mod records; // records against their schema and their chain
mod spool; // the spool on a real directory: damage, locks, limits
mod spool_process; // two processes, a full disk, a directory moved away
mod strace; // write, sync, answer, as the kernel sees them
mod syscalls; // every file system call fails once, and is the last once
mod telemetry; // spans and metrics
mod tidy; // the house rules
mod verify; // the trail's wholeness, by the command and without it
mod wire; // strict reading, against Go's
