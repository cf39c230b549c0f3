//! Says to a spool's process that its records are read, which is itself to be in the trail. Used by every command that
//! reads a spool which may have a process.

use std::path::Path;

use crate::audit::accessed::{Asked, Left, leave};
use crate::audit::lifecycle::ReadBy;

use super::Where;

/// Reading goes on whatever comes of it.
pub fn note(place: &Where, by: ReadBy, since_us: Option<i64>, until_us: Option<i64>) {
    if let Where::Spool(spool) = place {
        note_at(spool, Asked { by, since_us, until_us });
    }
}

pub fn note_at(spool: &Path, asked: Asked) {
    if let Left::Refused(error) = leave(spool, asked) {
        eprintln!(
            "countersign: this reading will not be in the trail: no note can be left in `{}`: {error}",
            spool.display()
        );
    }
}
