//! What the process gives up before it reads the first secret: its memory, with tokens and keys in it, is written to no
//! core dump and shown to no process of the same user. Not a sandbox: what the service manager can take away
//! (capabilities, paths, system calls) is the service manager's. Called by `commands::serve`, once, before the
//! configuration is read.

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, Rlimit, geteuid, set_dumpable_behavior, setrlimit};

/// What could not be given up. The process runs on: a sandbox that forbids the asking is no reason to deny everybody.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Left {
    core: Option<Errno>,
    dumpable: Option<Errno>,
    root: bool,
}

/// No core dumps, no debugger of the same user. Both are needed: where the system hands cores to a program, it does not
/// look at the limit, and a limit alone keeps nobody from attaching.
pub fn harden() -> Left {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    Left {
        core: setrlimit(Resource::Core, none).err(),
        dumpable: set_dumpable_behavior(DumpableBehavior::NotDumpable).err(),
        root: geteuid().is_root(),
    }
}

impl Left {
    /// Once there is a log.
    pub fn warn(self) {
        if let Some(error) = self.core {
            tracing::warn!(%error, "core dumps could not be switched off; one would hold tokens and keys");
        }
        if let Some(error) = self.dumpable {
            tracing::warn!(%error, "the process could not be made undumpable; others of its user can read its memory");
        }
        if self.root {
            tracing::warn!("running as root, which nothing here needs; give it a user of its own that owns the spool");
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{dumpable_behavior, getrlimit};

    use super::*;

    #[test]
    fn nothing_of_the_memory_is_written_or_shown() {
        let left = harden();
        assert_eq!((left.core, left.dumpable), (None, None));
        let limit = getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }
}
