//! Defects planted on purpose, one at a time and for one thread: what does not find them proves nothing.

use std::cell::Cell;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    AnswerBeforeSync,
    NoDirectorySync,
    CursorBeforeAcknowledgement,
    SyncRetried,
    ChecksumOff,
    StopAtFirstDamage,
}

pub const ALL: [Bug; 6] = [
    Bug::AnswerBeforeSync,
    Bug::NoDirectorySync,
    Bug::CursorBeforeAcknowledgement,
    Bug::SyncRetried,
    Bug::ChecksumOff,
    Bug::StopAtFirstDamage,
];

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

pub fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}
