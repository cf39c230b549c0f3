//! Where MinIO's audit webhook sends its entries: a file with one JSON object a line, as `countersign explain` and `reconcile`
//! read it. Any web server that writes down what it is sent would do.

use super::error::{Error, Result};
use crate::stub::{Answer, Script, Stub};
use parking_lot::Mutex;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// A sink that takes entries until it is dropped.
#[derive(Debug)]
pub struct AuditSink {
    stub: Stub,
    file: PathBuf,
}

impl AuditSink {
    /// Entries are added to `file`.
    /// # Errors
    /// When the file cannot be made, or nothing can listen.
    pub async fn start(file: &Path) -> Result<Self> {
        let out = File::options().create(true).append(true).open(file).map_err(Error::path("opening", file))?;
        let out = Mutex::new(out);
        let script = Script::by(move |received| {
            // MinIO looks whether somebody is there with an empty body.
            let body = received.body.trim_ascii();
            let line = [body, b"\n"].concat();
            let written = body.is_empty() || out.lock().write_all(&line).is_ok();
            Answer::new("").status(if written { 200 } else { 500 })
        });
        let stub = Stub::start(script).await.map_err(std::io::Error::other);
        let stub = stub.map_err(Error::io("starting a sink for audit entries"))?;
        Ok(Self { stub, file: file.to_owned() })
    }

    /// For `MINIO_AUDIT_WEBHOOK_ENDPOINT_…`.
    pub fn url(&self) -> String {
        self.stub.url()
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Entries so far.
    pub fn entries(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}
