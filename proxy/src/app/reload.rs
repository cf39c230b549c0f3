//! Reads the configuration again, on SIGHUP or when a file of it has changed, and puts in force what can change while the
//! process runs: all of it or, where anything is wrong, nothing. Records and counts either. What applies and what waits
//! is said by `config::adopt`; this is the applying. Started by `app`, in a thread of its own: it reads files.

mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use flume::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

use super::parts::{self, PartError};
use super::systemd::Systemd;
use crate::admin::purge::Access;
use crate::audit::lifecycle::{Event, RefusedConfig, ReloadBy};
use crate::audit::spool::Spool;
use crate::config::adopt::{Adopted, Unadoptable, adopt};
use crate::config::{self, Config, Diagnostics, Loaded, Severity};
use crate::front::Front;
use crate::metrics::Metrics;
use crate::pipeline::Pipeline;
use watch::Watch;

/// Between two looks at the files. A change applies when two looks in a row saw the same: what is being written is left
/// alone.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two reloads, so that a storm of signals is no storm of records.
const APART: Duration = Duration::from_millis(200);
/// For the record of a change to get its place before the change applies.
const PLACED_WITHIN: Duration = Duration::from_secs(1);
/// Names in a record; the log has them all.
const MOST_NAMED: usize = 64;
/// Places of mistakes in a record.
const MOST_PLACES: usize = 16;

/// Asks for a reload; one that is under way sees the ask, another is not queued behind it more than once.
#[derive(Debug, Clone)]
pub struct Hangup(Sender<()>);

impl Hangup {
    /// As SIGHUP does.
    pub fn now(&self) {
        match self.0.try_send(()) {
            // Full: one is about to begin, and will read what is there then.
            Ok(()) | Err(TrySendError::Full(())) => {}
            Err(TrySendError::Disconnected(())) => {
                tracing::error!("nobody reads the configuration again any more: a defect; a change needs a restart");
            }
        }
    }
}

/// What a reload replaces something in.
pub struct Running {
    pub pipeline: Arc<Pipeline>,
    pub front: Arc<Front>,
    pub access: Arc<ArcSwap<Access>>,
    pub spool: Spool,
    pub metrics: Arc<Metrics>,
    pub level: Box<dyn Fn(tracing::Level) + Send>,
    pub systemd: Systemd,
}

/// Reads again for as long as somebody may ask.
pub struct Reloader {
    running: Running,
    file: PathBuf,
    in_force: Config,
    /// Deciders so far.
    deciders: u64,
    /// Keys that were said to wait for a restart.
    pending: Vec<String>,
    watch: Watch,
    asked: Receiver<()>,
}

/// Why the configuration before stays in force.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("{0}")]
    Mistakes(#[from] Diagnostics),
    #[error(transparent)]
    Unadoptable(#[from] Unadoptable),
    #[error(transparent)]
    Part(#[from] PartError),
}

impl Reloader {
    /// `loaded` is what `file` held when `running` was built from it.
    pub fn new(running: Running, file: PathBuf, loaded: &Loaded) -> (Self, Hangup) {
        let (hangup, asked) = bounded(1);
        let watch = Watch::new(&file, &loaded.files);
        let in_force = loaded.config.clone();
        (Self { running, file, in_force, deciders: 1, pending: Vec::new(), watch, asked }, Hangup(hangup))
    }

    /// Ends when no [`Hangup`] is left.
    ///
    /// # Errors
    /// The operating system has no thread for us.
    pub fn spawn(self) -> std::io::Result<()> {
        std::thread::Builder::new().name("reload".to_owned()).spawn(move || self.run()).map(drop)
    }

    fn run(mut self) {
        loop {
            let by = match self.asked.recv_timeout(LOOK_EVERY) {
                Ok(()) => ReloadBy::Signal,
                Err(RecvTimeoutError::Timeout) if self.watch.has_changed() => ReloadBy::File,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            self.reload(by);
            std::thread::sleep(APART);
        }
    }

    fn reload(&mut self, by: ReloadBy) {
        // Before reading: what changes meanwhile is looked at again.
        self.watch.remember();
        self.running.systemd.reloading();
        let taken = self.take_over(by);
        self.running.systemd.reloaded(self.in_force.generation(), taken.is_ok());
        if let Err(refused) = taken {
            for line in refused.to_string().lines() {
                tracing::error!("configuration not used: {line}");
            }
            let generation = self.in_force.generation();
            tracing::error!(generation, "the configuration before stays in force");
            self.running.metrics.reload_refused();
            self.running.spool.record(refused.event(by, generation));
        }
    }

    fn take_over(&mut self, by: ReloadBy) -> Result<(), Refused> {
        let loaded = config::load(&self.file).inspect_err(|mistakes| self.watch.files(&self.file, &mistakes.files))?;
        self.watch.files(&self.file, &loaded.files);
        let adopted = adopt(&self.in_force, loaded.config)?;
        let generation: Arc<str> = adopted.config.generation().into();
        let names = parts::names(&adopted.config, &generation);
        self.running.metrics.expect(&names);
        let secure = parts::secure(&adopted.config)?;
        let decider = adopted
            .decides_anew
            .then(|| parts::decider(&adopted.config, self.deciders + 1, &self.running.metrics))
            .transpose()?;

        // Nothing can fail any more.
        self.deciders += u64::from(decider.is_some());
        let news = self.announce(by, &adopted, &generation);
        let Running { pipeline, front, access, level, metrics, .. } = &self.running;
        pipeline.replace(decider, |privacy| parts::pipeline(&adopted.config, privacy, generation));
        // After the routes: a client that is new never meets the old ones.
        front.replace(parts::front(&adopted.config));
        metrics.listener_certificate(parts::listener_certificate(&adopted.config, secure.as_deref()));
        front.secure(secure);
        access.store(Arc::new(parts::access(&adopted.config)));
        level(parts::level(&adopted.config));
        metrics.reloaded(&names);
        if news {
            loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            say(&adopted);
        }
        self.in_force = adopted.config;
        self.pending = adopted.pending_restart;
        Ok(())
    }

    /// Before anything is replaced, so that the record stands before the first one of its generation. False: there is
    /// nothing to tell.
    fn announce(&self, by: ReloadBy, adopted: &Adopted, generation: &str) -> bool {
        let Adopted { changed, pending_restart, .. } = adopted;
        if changed.is_empty() && *pending_restart == self.pending {
            match by {
                ReloadBy::Signal => tracing::info!(generation, "configuration read again; nothing in it has changed"),
                ReloadBy::File => tracing::debug!(generation, "configuration read again; it means the same"),
            }
            return false;
        }
        let event = Event::ConfigChanged {
            by,
            old: self.in_force.generation(),
            new: generation.to_owned(),
            changed: changed.iter().take(MOST_NAMED).cloned().collect(),
            changed_omitted: u64::try_from(changed.len().saturating_sub(MOST_NAMED)).unwrap_or(u64::MAX),
            pending_restart: pending_restart.clone(),
        };
        self.running.spool.configured(event, generation, PLACED_WITHIN);
        true
    }
}

fn say(Adopted { config, changed, pending_restart, .. }: &Adopted) {
    if !pending_restart.is_empty() {
        tracing::warn!(keys = pending_restart.join(" "), "these keys changed and wait for a restart");
    }
    tracing::info!(generation = config.generation(), changed = changed.join(" "), "configuration in force");
}

impl Refused {
    fn event(&self, by: ReloadBy, config_generation: String) -> Event {
        let mistakes: Vec<_> = match self {
            Self::Mistakes(found) => found.all.iter().filter(|one| one.severity != Severity::Warning).collect(),
            Self::Unadoptable(_) | Self::Part(_) => Vec::new(),
        };
        let why = match self {
            Self::Mistakes(found) if found.unreadable => RefusedConfig::Unreadable,
            Self::Mistakes(_) | Self::Part(_) => RefusedConfig::Invalid,
            Self::Unadoptable(_) => RefusedConfig::Impossible,
        };
        let places = mistakes.iter().filter_map(|one| one.position).take(MOST_PLACES);
        Event::ConfigRefused {
            by,
            why,
            config_generation,
            mistakes: u64::try_from(mistakes.len().max(1)).unwrap_or(u64::MAX),
            places: places.map(|(line, column)| format!("{line}:{column}")).collect(),
        }
    }
}
