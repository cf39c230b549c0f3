//! One running process of a part and everything it starts: its own process group, ended as a whole.
//!
//! A group outlives its parent, so each has a watchdog: a shell that reads from a pipe only this process holds. When
//! this process ends in whatever way, SIGKILL included, the pipe closes and the shell ends the group. (The kernel's
//! parent-death signal would reach one process only, and would strike when the *thread* that started it ends.)

use super::error::{Error, Result};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A newline disarms, the end of the pipe without one kills.
const WATCHDOG: &str = r#"read -r _ || kill -s KILL -- "-$1""#;
const STEP: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    group: Pid,
    watchdog: Child,
}

impl Process {
    /// Starts `command` with its output appended to the file `log`.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let out = File::options().create(true).append(true).open(log).map_err(Error::path("opening", log))?;
        let err = out.try_clone().map_err(Error::path("opening", log))?;
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0).spawn();
        let child = child.map_err(Error::io(format!("starting `{name}`")))?;
        let group = Pid::from_child(&child);
        let mut watchdog = Command::new("sh");
        watchdog.args(["-c", WATCHDOG, "watchdog", &child.id().to_string()]).process_group(0);
        watchdog.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        match watchdog.spawn() {
            Ok(watchdog) => Ok(Self { child, group, watchdog }),
            Err(why) => {
                kill_process_group(group, Signal::KILL).ok();
                Err(Error::io("starting a watchdog")(why))
            }
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether the process has ended. It stays in the process table until `end`, so that its number is not reused.
    pub fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(waitid(WaitId::Pid(self.group), options), Ok(None))
    }

    pub fn signal(&self, signal: Signal) {
        kill_process_group(self.group, signal).ok();
    }

    /// Stops it where it is. Returns when it has stopped or ended: after the signal alone its threads go on for a while,
    /// and may answer.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        let options = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(self.group), options).ok();
    }

    /// Asks the group to end, waits up to `grace` for its leader, then ends what is left. Blocks.
    pub fn end(&mut self, grace: Duration) {
        if !grace.is_zero() {
            self.signal(Signal::TERM);
            self.signal(Signal::CONT);
            let until = Instant::now() + grace;
            while !self.has_ended() && Instant::now() < until {
                std::thread::sleep(STEP);
            }
        }
        self.signal(Signal::KILL);
        if let Some(mut pipe) = self.watchdog.stdin.take() {
            pipe.write_all(b"\n").ok();
        }
        self.watchdog.wait().ok();
        self.child.wait().ok();
    }

    #[cfg(test)]
    pub fn lose_watchdogs_pipe(&mut self) {
        self.watchdog.stdin = None;
    }
}
