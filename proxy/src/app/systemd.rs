//! Words to systemd (`Type=notify`): ready, reloading, stopping, what it is doing, and that it lives. Not the signals
//! that systemd sends (`signals`). Built by `app`; `reload` tells of reloads. Without `NOTIFY_SOCKET` nothing is said.
//!
//! One thread says everything, in order: a manager that is slow to listen must not hold up a decision. What proves life
//! is `heartbeat`, on the threads that decide.

use std::time::Duration;

use flume::{Receiver, Sender, bounded};
use sd_notify::NotifyState;

/// Words that wait for systemd to listen. What comes on top is lost; of what repeats, the next one is as good.
const MOST_WAITING: usize = 64;
/// Between two looks at ourselves where systemd asks for no sign of life: the status line follows what is so.
const UNWATCHED: Duration = Duration::from_secs(5);

/// What there is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    Bound { recording: bool },
    Reloading,
    Reloaded { generation: String, used: bool },
    Stopping { drain: Duration },
    Alive { recording: bool },
}

/// Takes words; cheap to copy, and never waits.
#[derive(Debug, Clone, Default)]
pub struct Systemd(Option<Sender<Word>>);

impl Systemd {
    /// Speaks to whoever `NOTIFY_SOCKET` names, from a thread of its own.
    ///
    /// # Errors
    /// The operating system has no thread for us.
    pub fn start(generation: &str) -> std::io::Result<Self> {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Ok(Self::default());
        }
        let (sender, words) = bounded(MOST_WAITING);
        let mut deaf = false;
        let voice = Voice::new(generation, move |states: &[NotifyState<'_>]| {
            deaf = is_deaf(deaf, &sd_notify::notify(states));
        });
        std::thread::Builder::new().name("systemd".to_owned()).spawn(move || voice.run(&words))?;
        Ok(Self(Some(sender)))
    }

    /// How often [`Self::alive`] is to be said; `None` where nobody listens. Half of what systemd waits for.
    pub fn every(&self) -> Option<Duration> {
        self.0.as_ref().map(|_| sd_notify::watchdog_enabled().map_or(UNWATCHED, |limit| limit / 2))
    }

    /// Every listener accepts. `recording`: records can be made durable.
    pub fn bound(&self, recording: bool) {
        self.put(Word::Bound { recording });
    }

    pub fn reloading(&self) {
        self.put(Word::Reloading);
    }

    /// `generation` is what is in force now; `used` is false where that is what was in force before.
    pub fn reloaded(&self, generation: String, used: bool) {
        self.put(Word::Reloaded { generation, used });
    }

    pub fn stopping(&self, drain: Duration) {
        self.put(Word::Stopping { drain });
    }

    /// To be said only by what decides. `recording`: records can be made durable.
    pub fn alive(&self, recording: bool) {
        self.put(Word::Alive { recording });
    }

    fn put(&self, word: Word) {
        if let Some(words) = &self.0
            && words.try_send(word).is_err()
        {
            tracing::debug!("systemd does not listen");
        }
    }
}

/// Whether systemd does not listen now. Told when it changes: a word goes out every few seconds.
fn is_deaf(before: bool, heard: &std::io::Result<()>) -> bool {
    match heard {
        Ok(()) if before => tracing::info!("systemd listens again"),
        Err(error) if !before => tracing::warn!(%error, "systemd does not listen"),
        Ok(()) | Err(_) => {}
    }
    heard.is_err()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting,
    Ready,
    Stopping,
}

/// Puts words into systemd's form, and keeps them in an order that it understands: a reload is told of only between
/// ready and stopping.
struct Voice<S> {
    say: S,
    phase: Phase,
    generation: String,
    recording: bool,
}

impl<S: FnMut(&[NotifyState<'_>])> Voice<S> {
    fn new(generation: &str, say: S) -> Self {
        Self { say, phase: Phase::Starting, generation: generation.to_owned(), recording: true }
    }

    fn run(mut self, words: &Receiver<Word>) {
        while let Ok(word) = words.recv() {
            self.hear(word);
        }
    }

    fn hear(&mut self, word: Word) {
        match (word, self.phase) {
            (Word::Bound { recording }, Phase::Starting) => {
                (self.phase, self.recording) = (Phase::Ready, recording);
                let status = self.status();
                (self.say)(&[NotifyState::Ready, NotifyState::Status(&status)]);
            }
            (Word::Reloading, Phase::Ready) => {
                // systemd from 253 on wants to know since when.
                let since = NotifyState::monotonic_usec_now().unwrap_or(NotifyState::MonotonicUsec(0));
                (self.say)(&[NotifyState::Reloading, since, NotifyState::Status("reading the configuration again")]);
            }
            (Word::Reloaded { generation, used }, phase) => {
                self.generation = generation;
                if phase == Phase::Ready {
                    let left = if used { "" } else { "; the last change was refused, see the log" };
                    let status = format!("{}{left}", self.status());
                    (self.say)(&[NotifyState::Ready, NotifyState::Status(&status)]);
                }
            }
            (Word::Stopping { drain }, Phase::Starting | Phase::Ready) => {
                self.phase = Phase::Stopping;
                let status = format!("draining, for up to {}", humantime::format_duration(drain));
                (self.say)(&[NotifyState::Stopping, NotifyState::Status(&status)]);
            }
            (Word::Alive { recording }, phase) => {
                let changed = std::mem::replace(&mut self.recording, recording) != recording;
                let status = self.status();
                let with_status = [NotifyState::Watchdog, NotifyState::Status(&status)];
                (self.say)(if changed && phase == Phase::Ready { &with_status } else { &[NotifyState::Watchdog] });
            }
            (Word::Bound { .. }, Phase::Ready | Phase::Stopping)
            | (Word::Reloading, Phase::Starting | Phase::Stopping)
            | (Word::Stopping { .. }, Phase::Stopping) => {}
        }
    }

    fn status(&self) -> String {
        let Self { generation, .. } = self;
        if self.recording {
            format!("answering; configuration {generation}")
        } else {
            format!("denying everything: no record can be made durable; configuration {generation}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(words: &[Word]) -> Vec<String> {
        let mut told = Vec::new();
        let mut voice = Voice::new("a1", |states: &[NotifyState<'_>]| {
            told.push(states.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
        });
        words.iter().for_each(|word| voice.hear(word.clone()));
        told
    }

    #[test]
    fn a_reload_is_told_of_between_ready_and_stopping_only() {
        let reloaded = |used| Word::Reloaded { generation: "b2".to_owned(), used };
        let stopping = Word::Stopping { drain: Duration::from_secs(17) };
        let told = heard(&[
            Word::Reloading,
            reloaded(true),
            Word::Bound { recording: true },
            Word::Bound { recording: true },
            Word::Reloading,
            reloaded(false),
            stopping.clone(),
            Word::Reloading,
            reloaded(true),
            stopping,
        ]);
        let [ready, reloading, again, stopping] = &told[..] else { panic!("{told:#?}") };
        assert_eq!(ready, "READY=1 STATUS=answering; configuration b2");
        assert!(reloading.starts_with("RELOADING=1 MONOTONIC_USEC="), "{reloading}");
        assert!(!reloading.contains("MONOTONIC_USEC=0 "), "{reloading}");
        assert!(
            again.starts_with("READY=1 STATUS=answering; configuration b2; the last change was refused"),
            "{again}"
        );
        assert_eq!(stopping, "STOPPING=1 STATUS=draining, for up to 17s");
    }

    #[test]
    fn the_status_line_follows_whether_records_can_be_made() {
        let alive = |recording| Word::Alive { recording };
        let told = heard(&[Word::Bound { recording: true }, alive(true), alive(false), alive(false), alive(true)]);
        assert_eq!(told[1], "WATCHDOG=1");
        assert!(told[2].starts_with("WATCHDOG=1 STATUS=denying everything"), "{}", told[2]);
        assert_eq!(told[3], "WATCHDOG=1");
        assert_eq!(told[4], "WATCHDOG=1 STATUS=answering; configuration a1");
    }

    #[test]
    fn a_manager_that_does_not_listen_holds_nobody_up() {
        let (sender, _words) = bounded(MOST_WAITING);
        let systemd = Systemd(Some(sender));
        (0..10 * MOST_WAITING).for_each(|_| systemd.alive(true));
    }
}
