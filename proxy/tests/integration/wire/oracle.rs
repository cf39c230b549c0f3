//! MinIO's reader of answers, as a program in Go (`tests/go_oracle`) that the laboratory builds once.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use loadtest::laboratory::{Laboratory, require};

/// What MinIO asking directly would have made of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Allow,
    /// Without a trace.
    Deny,
    /// With a line in MinIO's log.
    Error,
}

pub struct Oracle {
    binary: PathBuf,
}

/// `None`, and a word about it for each test that asks, where there is no Go; in continuous integration that is a failure.
pub fn open() -> Option<Oracle> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/go_oracle");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let binary = require(runtime.block_on(Laboratory::open().unwrap().go_program("go-oracle", &source)))?;
    Some(Oracle { binary })
}

impl Oracle {
    /// One verdict a body, in their order.
    pub fn ask(&self, bodies: &[Vec<u8>]) -> Vec<Verdict> {
        let mut child = Command::new(&self.binary).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let mut output = child.stdout.take().unwrap();
        let mut verdicts = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let framed = bodies.iter().flat_map(|body| [&(body.len() as u32).to_le_bytes()[..], body].concat());
                input.write_all(&framed.collect::<Vec<_>>()).unwrap();
            });
            output.read_to_end(&mut verdicts).unwrap();
        });
        assert!(child.wait().unwrap().success());
        assert_eq!(verdicts.len(), bodies.len());
        verdicts.into_iter().map(verdict).collect()
    }
}

fn verdict(byte: u8) -> Verdict {
    match byte {
        b'A' => Verdict::Allow,
        b'D' => Verdict::Deny,
        b'E' => Verdict::Error,
        other => panic!("the oracle says {other}"),
    }
}
