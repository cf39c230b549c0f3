//! The writer's statements about its own chain: signed tree heads, at intervals and when nothing else happens, so that
//! whoever keeps them notices a record that was changed or taken away. The tree is `tree`, the key `keys`.

use std::time::{Duration, Instant, UNIX_EPOCH};

use crate::audit::envelope;
use crate::audit::journal;
use crate::audit::keys::{self, Rotation, SigningKey};
use crate::audit::lifecycle::{CheckpointData, Event};
use crate::audit::note::{self, Checkpoint};
use crate::audit::tree::Tree;

use super::Writer;

/// A checkpoint after this many records, however quickly they come.
const MOST_RECORDS: u64 = 100_000;
/// Before the next attempt to write down which key signs.
const RETRY: Duration = Duration::from_secs(1);

pub struct Checkpoints {
    tree: Tree,
    key: Option<SigningKey>,
    /// To be recorded when the chain opens.
    rotation: Option<Rotation>,
    /// The rotation's seq: when it is durable, the spool may name the new key. And when to try that.
    remember: Option<(u64, Instant)>,
    last: Instant,
    /// The chain's length when the last one was placed.
    size: u64,
    newest_us: i64,
}

impl Checkpoints {
    pub fn new(now: Instant) -> Self {
        Self { tree: Tree::new(), key: None, rotation: None, remember: None, last: now, size: 0, newest_us: 0 }
    }

    /// A record has got its place in the chain.
    pub fn note(&mut self, record_hash: &[u8; 32], time_us: i64) {
        self.tree.push(record_hash);
        self.newest_us = self.newest_us.max(time_us);
    }
}

impl Writer {
    /// The key, from the configuration or the spool. Can be called again after an error.
    pub(super) fn load_key(&mut self) -> Result<(), String> {
        if self.checkpoints.key.is_none() {
            let (options, source) = (&self.shared.options, &self.shared.source);
            let (key, rotation) =
                keys::load(self.shared.files.as_ref(), options.signing_key.as_ref(), &source.instance)?;
            (self.checkpoints.key, self.checkpoints.rotation) = (Some(key), rotation);
        }
        Ok(())
    }

    pub(super) fn place_rotation(&mut self) {
        let Some(Rotation { old, new, note }) = self.checkpoints.rotation.take() else { return };
        self.place_event(&Event::KeyRotated { old, new, note });
        self.checkpoints.remember = Some((self.chain.next(), self.shared.clock.now()));
    }

    pub(super) fn checkpoint_if_due(&mut self, now: Instant) {
        self.remember_key(now);
        let waited = now.saturating_duration_since(self.checkpoints.last);
        let records = self.checkpoints.tree.size() - self.checkpoints.size;
        if waited >= self.shared.options.checkpoint_every || records >= MOST_RECORDS {
            self.place_checkpoint(now);
        }
    }

    /// States the head of the tree over every record before this one.
    pub(super) fn place_checkpoint(&mut self, now: Instant) {
        let Some(key) = &self.checkpoints.key else { return };
        let (origin, size) = (self.chain.id().to_string(), self.checkpoints.tree.size());
        let point = Checkpoint { origin, size, root: self.checkpoints.tree.root() };
        let note = match note::sign(&point.body(), &[&key.signer]) {
            Ok(note) => note,
            Err(error) => return tracing::error!(%error, "cannot sign a checkpoint"),
        };
        let tree = self.checkpoints.tree.frontier().iter().map(hex::encode).collect();
        let data = CheckpointData { note, head: hex::encode(self.chain.prev()), tree };
        // Not before what it covers, whatever the wall clock does.
        let newest = Duration::from_micros(u64::try_from(self.checkpoints.newest_us).unwrap_or(0));
        let time = self.shared.clock.wall().max(UNIX_EPOCH + newest);
        let Some(draft) = journal::checkpoint(&self.shared.source, time, &data) else { return };
        // Not from the room that is kept for an outage: an idle chain would use it up. When there is no room at all the
        // outage it has begun ends with a chain that is longer, and the next one covers that.
        if self.place(&draft, false).is_some() {
            (self.checkpoints.last, self.checkpoints.size) = (now, self.checkpoints.tree.size());
            self.shared.metrics.checkpointed(Duration::from_micros(u64::try_from(envelope::micros(time)).unwrap_or(0)));
        }
    }

    /// The spool names the new key once the rotation is durable: a crash before lets the next process say it again.
    fn remember_key(&mut self, now: Instant) {
        let Some((seq, at)) = self.checkpoints.remember else { return };
        let Some(key) = &self.checkpoints.key else { return };
        if self.durable.0 < seq || now < at {
            return;
        }
        match keys::remember(self.shared.files.as_ref(), key.signer.public()) {
            Ok(()) => self.checkpoints.remember = None,
            Err(error) => {
                tracing::error!(error, "the rotation of the signing key will be recorded again");
                self.checkpoints.remember = Some((seq, now + RETRY));
            }
        }
    }
}
