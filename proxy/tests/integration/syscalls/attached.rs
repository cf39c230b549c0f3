//! strace on one thread of a process, with one call of it failing or being its last. Called by `run`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use loadtest::laboratory::{Error, require};

/// What touches files. `close` is not there: nothing depends on what it returns.
const CALLS: &str = "open,openat,mkdirat,pwrite64,pread64,fdatasync,fsync,renameat,unlinkat,ftruncate,fallocate,flock,\
                     getdents64,statfs,fstatfs,statx";
/// Threads that touch the spool.
pub const THREADS: [&str; 3] = ["spool", "spool-keeper", "publisher"];
const PATIENCE: Duration = Duration::from_secs(20);

/// One call of one thread, by its number among those of its kind, from 1.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Call {
    pub thread: &'static str,
    pub name: String,
    pub number: usize,
}

impl Call {
    /// For a second fault in the same run: a little later, in the same thread.
    pub fn another(&self) -> Self {
        Self { number: self.number + 2, ..self.clone() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Error(&'static str),
    /// From this call on, each.
    Errors(&'static str),
    /// It begins so many microseconds later.
    Delay(u32),
    Kill,
}

impl Fault {
    pub fn name(self) -> &'static str {
        match self {
            Self::Error(error) | Self::Errors(error) => error,
            Self::Delay(_) => "DELAY",
            Self::Kill => "KILL",
        }
    }

    fn inject(self, call: &Call) -> String {
        let what = match self {
            Self::Errors(error) => return format!("inject={}:error={error}:when={}+", call.name, call.number),
            Self::Error(error) => format!("error={error}"),
            Self::Delay(micros) => format!("delay_enter={micros}"),
            Self::Kill => "signal=KILL".to_owned(),
        };
        format!("inject={}:{what}:when={}", call.name, call.number)
    }
}

/// `None`, said loudly, where strace may not do this.
pub fn usable() -> Option<()> {
    let tried = Command::new("strace").args(["-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    if tried.is_ok_and(|status| status.success()) {
        return Some(());
    }
    let (tool, part) = ("strace".to_owned(), "the fault of a system call".to_owned());
    require(Err(Error::Missing { tool, part, hint: "none was made to fail".to_owned() }))
}

/// The thread's number.
pub fn thread(pid: u32, name: &str) -> Option<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    tasks.flatten().find_map(|task| {
        let comm = std::fs::read_to_string(task.path().join("comm")).ok()?;
        (comm.trim_end() == name).then(|| task.file_name().to_str()?.parse().ok())?
    })
}

pub struct Strace {
    child: Child,
    thread: &'static str,
    trace: PathBuf,
}

impl Strace {
    /// Attached when this returns. The process is stopped meanwhile.
    pub fn attach(home: &Path, pid: u32, name: &'static str, faults: &[(&Call, Fault)]) -> Self {
        let tid = thread(pid, name).unwrap_or_else(|| panic!("no thread {name}"));
        let (trace, said) = (home.join(format!("trace-{name}")), home.join(format!("strace-{name}")));
        let mut command = Command::new("strace");
        command.args(["-y", "-s", "16", "-e", &format!("trace={CALLS}")]);
        for (call, fault) in faults {
            command.args(["-e", &fault.inject(call)]);
        }
        command.arg("-o").arg(&trace).args(["-p", &tid.to_string()]);
        let child = command.stdin(Stdio::null()).stderr(std::fs::File::create(&said).unwrap()).spawn().unwrap();
        let since = Instant::now();
        while !std::fs::read_to_string(&said).unwrap_or_default().contains("attached") {
            assert!(since.elapsed() < PATIENCE, "strace does not attach");
            std::thread::sleep(Duration::from_millis(1));
        }
        Self { child, thread: name, trace }
    }

    /// After the end of the process: the lines of the trace.
    pub fn lines(&mut self) -> Vec<String> {
        self.child.wait().unwrap();
        std::fs::read_to_string(&self.trace).unwrap().lines().map(str::to_owned).collect()
    }

    /// The calls on files below `root`.
    pub fn calls(&mut self, root: &Path) -> Vec<Call> {
        let mut counted = std::collections::HashMap::new();
        let root = root.display().to_string();
        let mut calls = Vec::new();
        for line in self.lines() {
            let Some((name, rest)) = line.split_once('(') else { continue };
            let number = counted.entry(name.to_owned()).or_insert(0);
            *number += 1;
            if rest.contains(&root) {
                calls.push(Call { thread: self.thread, name: name.to_owned(), number: *number });
            }
        }
        calls
    }

    /// How often something was injected so far. The process need not have ended.
    pub fn count(&self) -> usize {
        std::fs::read_to_string(&self.trace).unwrap_or_default().matches("(INJECTED)").count()
    }

    /// Whether the fault came about.
    pub fn injected(&mut self, fault: Fault) -> bool {
        let lines = self.lines();
        match fault {
            Fault::Error(_) | Fault::Errors(_) => lines.iter().any(|line| line.contains("(INJECTED)")),
            Fault::Delay(_) => lines.iter().any(|line| line.contains("(DELAYED)")),
            Fault::Kill => lines.iter().any(|line| line.contains("killed by SIGKILL")),
        }
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
