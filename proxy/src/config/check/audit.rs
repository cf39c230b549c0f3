//! The record and its spool: `[audit]`. Called by `check`.

use std::path::{Component, PathBuf};

use secrecy::ExposeSecret as _;

use super::privacy::privacy;
use super::shown;
use crate::audit::keys::SigningKey;
use crate::config::meant::{Audit, Durability};
use crate::config::secret::{self, Use};
use crate::config::summary;
use crate::config::written::Table;

pub fn audit(table: &Table<'_>, has_kafka: bool) -> Option<Audit> {
    let spool = spool(table);
    let durability = table.word::<Durability>("durability");
    let probes = table.word("probes");
    let max_size = table.get::<u64>("max_size");
    let (retain_delivered, checkpoint_every) = (table.get("retain_delivered"), table.get("checkpoint_every"));
    let signing_key = signing_key(table);
    let privacy = privacy(&table.table("privacy"));
    if !has_kafka {
        without_kafka(table, durability, max_size);
    }
    Some(Audit {
        spool: spool?,
        durability: durability?,
        probes: probes?,
        max_size: max_size?,
        retain_delivered: retain_delivered?,
        checkpoint_every: checkpoint_every?,
        signing_key,
        privacy: privacy?,
    })
}

fn signing_key(table: &Table<'_>) -> Option<SigningKey> {
    let text = table.has("signing_key").then(|| secret::read(&table.table("signing_key"), Use::Text)).flatten()?;
    let parsed = SigningKey::parse(text.expose_secret());
    parsed
        .map_err(|e| table.error("signing_key", format!("`audit.signing_key`: {e}; `countersign keygen` makes one")))
        .ok()
}

fn spool(table: &Table<'_>) -> Option<PathBuf> {
    let path = PathBuf::from(table.get::<String>("spool")?);
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !path.is_absolute() || !plain || path.parent().is_none() {
        let shown = shown(&path.to_string_lossy());
        table.error(
            "spool",
            format!("`audit.spool` is `{shown}`, but takes the absolute path of a directory without `..`"),
        );
        return None;
    }
    Some(path)
}

/// What follows for the records if nothing takes them away.
fn without_kafka(table: &Table<'_>, durability: Option<Durability>, max_size: Option<u64>) {
    if durability == Some(Durability::Acknowledged) {
        table.error(
            "durability",
            "`audit.durability = \"acknowledged\"` needs `[kafka]`: nobody else could acknowledge",
        );
    }
    if let Some(max_size) = max_size {
        let message = format!(
            "without `[kafka]` no record leaves this machine, and once {} are full the oldest ones are dropped: after {}",
            summary::gibibytes(max_size),
            summary::endurance(max_size),
        );
        table.warn("max_size", message);
    }
}
