//! Who reads the spool: a reader leaves a note in the directory `accessed` of the spool, and the process that writes the
//! spool turns notes into records and removes them. No reader writes into a chain.
//!
//! A note is an empty file. Its owner, for whom the kernel vouches, says who read; its name says what was asked, in words
//! and numbers that are read strictly, so that nothing of a reader's own making gets into a record. It shows honest
//! readers: who reads the files themselves, or removes the note in time, leaves none.

use std::collections::HashSet;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, UNIX_EPOCH};

use crate::audit::chance;
use crate::audit::disk::Disk;
use crate::audit::envelope::{micros, rfc3339};
use crate::audit::files::Files;
use crate::audit::lifecycle::{Event, ReadBy};
use crate::audit::spool::Spool;

const DIRECTORY: &str = "accessed";
/// Notes that may wait; a reader leaves none beyond.
const MOST: usize = 256;
/// Notes that become records in one turn; the others wait.
const IN_A_TURN: usize = 16;
const TURN: Duration = Duration::from_secs(1);

/// What became of a note.
#[derive(Debug)]
pub enum Left {
    Noted,
    /// No process takes notes here.
    Nobody,
    Refused(io::Error),
}

/// What was asked of the spool. Times are microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    pub by: ReadBy,
    pub since_us: Option<i64>,
    pub until_us: Option<i64>,
}

impl Asked {
    fn name(&self) -> String {
        let time = |us: Option<i64>| us.map_or("any".to_owned(), |us| us.max(0).to_string());
        format!("{}.{}.{}.{:016x}", self.by.as_str(), time(self.since_us), time(self.until_us), chance::number())
    }

    /// `None`: no reader of ours has left this.
    fn parse(name: &str) -> Option<Self> {
        let parts: Vec<&str> = name.split('.').collect();
        let [by, since, until, _] = parts.as_slice() else { return None };
        let time = |text: &str| match text {
            "any" => Some(None),
            digits => digits.parse::<u64>().ok().and_then(|us| i64::try_from(us).ok()).map(Some),
        };
        let by = ReadBy::ALL.into_iter().find(|known| known.as_str() == *by)?;
        Some(Self { by, since_us: time(since)?, until_us: time(until)? })
    }
}

/// Leaves a note, if somebody takes them and there is room. Never waits.
pub fn leave(spool: &Path, asked: Asked) -> Left {
    let disk = Disk::new(spool);
    match disk.list(DIRECTORY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Left::Nobody,
        Err(error) => return Left::Refused(error),
        Ok(waiting) if waiting.len() >= MOST => {
            return Left::Refused(io::Error::other(format!("{MOST} notes wait already")));
        }
        Ok(_) => {}
    }
    match disk.create(&format!("{DIRECTORY}/{}", asked.name())) {
        Ok(_) => Left::Noted,
        Err(error) => Left::Refused(error),
    }
}

/// The thread that takes notes. It ends when dropped.
pub struct Watch {
    stop: Option<flume::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Errors: the operating system has no thread for us.
    pub fn spawn(spool: Spool, directory: &Path) -> io::Result<Self> {
        let (stop, stopped) = flume::bounded(1);
        let root = directory.to_owned();
        let work = move || {
            let (disk, mut stuck) = (Disk::new(&root), HashSet::new());
            loop {
                let last = !matches!(stopped.recv_timeout(TURN), Err(flume::RecvTimeoutError::Timeout));
                // What cannot be recorded now is taken later.
                if spool.is_available()
                    && let Err(error) = turn(&disk, &root, &mut stuck, &mut |event| spool.record(event))
                {
                    tracing::debug!(%error, "cannot look for readers of the spool");
                }
                if last {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("accessed".to_owned()).spawn(work)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("looking for readers of the spool ended with a panic");
        }
    }
}

/// Takes the notes that are there. What cannot be removed is passed over, and `stuck` remembers that this was said.
fn turn(disk: &Disk, root: &Path, stuck: &mut HashSet<String>, record: &mut dyn FnMut(Event)) -> io::Result<()> {
    let names = match disk.list(DIRECTORY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return disk.create_dir(DIRECTORY),
        names => names?,
    };
    stuck.retain(|name| names.contains(name));
    let mut taken = 0;
    for name in names {
        if taken == IN_A_TURN {
            break;
        }
        let owner = std::fs::symlink_metadata(root.join(DIRECTORY).join(&name));
        // Removed first: what could not be removed would be recorded every second.
        if let Err(error) = disk.remove_file(&format!("{DIRECTORY}/{name}")) {
            let shown = name.escape_debug().to_string();
            if stuck.len() < MOST && stuck.insert(name) {
                tracing::warn!(%error, name = shown, "cannot remove what is among the notes of readers");
            }
            continue;
        }
        taken += 1;
        match (Asked::parse(&name), owner) {
            (Some(asked), Ok(owner)) => record(event(asked, owner.uid(), owner.ctime(), owner.ctime_nsec())),
            _ => tracing::warn!(name = name.escape_debug().to_string(), "not a note of a reader, removed"),
        }
    }
    Ok(())
}

/// The time is the kernel's: when the file came to be.
fn event(asked: Asked, uid: u32, seconds: i64, nanos: i64) -> Event {
    let since = Duration::new(u64::try_from(seconds).unwrap_or(0), u32::try_from(nanos).unwrap_or(0));
    Event::AuditAccessed {
        by: asked.by,
        uid,
        at: rfc3339(micros(UNIX_EPOCH + since)),
        since: asked.since_us.map(rfc3339),
        until: asked.until_us.map(rfc3339),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Asked {
        Asked { by: ReadBy::Verify, since_us: Some(1_795_439_107_000_000), until_us: None }
    }

    fn taken(home: &Path) -> Vec<Event> {
        taken_but(home, &mut HashSet::new())
    }

    fn taken_but(home: &Path, stuck: &mut HashSet<String>) -> Vec<Event> {
        let mut events = Vec::new();
        turn(&Disk::new(home), home, stuck, &mut |event| events.push(event)).unwrap();
        events
    }

    #[test]
    fn a_note_becomes_one_record() {
        let home = tempfile::tempdir().unwrap();
        assert!(matches!(leave(home.path(), asked()), Left::Nobody), "nobody takes notes yet");
        assert!(taken(home.path()).is_empty());
        assert!(matches!(leave(home.path(), asked()), Left::Noted));
        let events = taken(home.path());
        let [Event::AuditAccessed { by, uid, since, until, .. }] = &events[..] else { panic!("{events:?}") };
        assert_eq!((*by, *uid), (ReadBy::Verify, rustix::process::geteuid().as_raw()));
        assert_eq!((since.as_deref(), until), (Some("2026-11-23T13:05:07.000000Z"), &None));
        assert!(taken(home.path()).is_empty(), "once");
    }

    #[test]
    fn notes_are_bounded_in_number_and_in_what_they_say() {
        let home = tempfile::tempdir().unwrap();
        taken(home.path());
        let notes = home.path().join(DIRECTORY);
        for wrong in
            ["x", "tail.any.any", "tail.-1.any.0", "rm.any.any.0", "tail.any.99999999999999999999.0", "\u{1b}[2J"]
        {
            std::fs::write(notes.join(wrong), "{}").unwrap();
        }
        assert!(taken(home.path()).is_empty() && std::fs::read_dir(&notes).unwrap().count() == 0);
        for _ in 0..MOST {
            assert!(matches!(leave(home.path(), asked()), Left::Noted));
        }
        assert!(matches!(leave(home.path(), asked()), Left::Refused(_)));
        assert_eq!(taken(home.path()).len(), IN_A_TURN, "the others wait");
    }

    /// More of it than is taken in a turn, and before every note by name.
    #[test]
    fn what_cannot_be_removed_holds_up_no_note() {
        let (home, mut stuck) = (tempfile::tempdir().unwrap(), HashSet::new());
        taken(home.path());
        for n in 0..IN_A_TURN + 4 {
            std::fs::create_dir(home.path().join(DIRECTORY).join(format!("{n:02}"))).unwrap();
        }
        assert!(matches!(leave(home.path(), asked()), Left::Noted));
        assert_eq!(taken_but(home.path(), &mut stuck).len(), 1);
        assert_eq!(stuck.len(), IN_A_TURN + 4, "each is told of");
        std::fs::remove_dir(home.path().join(DIRECTORY).join("00")).unwrap();
        assert!(taken_but(home.path(), &mut stuck).is_empty(), "once");
        assert_eq!(stuck.len(), IN_A_TURN + 3);
    }

    #[test]
    fn a_link_leads_nobody_elsewhere() {
        let home = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), home.path().join(DIRECTORY)).unwrap();
        assert!(matches!(leave(home.path(), asked()), Left::Refused(_)));
        assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }
}
