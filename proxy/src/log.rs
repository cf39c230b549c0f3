//! The operational log: what the process says about itself on standard error, never what was decided for whom.
//! Lines that the terminal or the journal is too slow for are dropped and counted, because a decision must not wait
//! for a log. Called by `commands`, once.

use std::io::{self, Write};
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

/// Lines that may wait for the writer.
const MAX_LINES: usize = 4096;

/// What a line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For people; control characters are escaped, so that a line is always one line.
    Text,
}

#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub format: Format,
    pub level: Level,
}

/// Somebody has set up a log before.
#[derive(Debug, thiserror::Error)]
#[error("the log is already set up")]
pub struct AlreadySetUp;

/// Keeps the writer's thread alive; dropping it writes what is left.
#[derive(Debug)]
pub struct Log {
    _guard: WorkerGuard,
    dropped: ErrorCounter,
    level: Handle<Targets, Registry>,
}

impl Log {
    /// Lines lost so far, to be read as often as wanted.
    pub fn lines_dropped(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let dropped = self.dropped.clone();
        move || u64::try_from(dropped.dropped_lines()).unwrap_or(u64::MAX)
    }

    /// Changes the level, from the next line on.
    pub fn level(&self) -> impl Fn(Level) + Send + 'static {
        let handle = self.level.clone();
        // The log is there as long as the process; nothing is left to tell where it is not.
        move |level| drop(handle.reload(filter(level)))
    }
}

/// Sets up the process's log on standard error, for our own lines and those of pingora and librdkafka.
///
/// # Errors
/// The second call.
pub fn start(options: Options) -> Result<Log, AlreadySetUp> {
    let (subscriber, log) = subscriber(options, io::stderr());
    // Also takes over from the `log` crate, which pingora and rdkafka write to.
    subscriber.try_init().map_err(|_| AlreadySetUp)?;
    let panics = Panics::default();
    // The standard hook writes to standard error itself: a reader that stalls would hold up the decision that panicked.
    std::panic::set_hook(Box::new(move |info| panics.tell(info, Instant::now())));
    Ok(log)
}

/// Panics in the log, at most [`PANICS`] in [`PERIOD`]: a defect that every question meets must not fill the disk that the
/// spool needs. The rest are counted.
#[derive(Debug, Default)]
struct Panics {
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    since: Option<Instant>,
    lines: u32,
    left_out: u64,
}

const PANICS: u32 = 10;
const PERIOD: Duration = Duration::from_secs(30);

impl Panics {
    fn tell(&self, info: &PanicHookInfo<'_>, now: Instant) {
        let Some(left_out) = self.admit(now) else { return };
        let (file, line) = info.location().map_or(("unknown", 0), |at| (at.file(), at.line()));
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("-");
        // Not its text: it may quote what a client or an authorizer sent.
        tracing::error!(file, line, thread, left_out, "panicked: a defect, please report it");
    }

    /// `None`: too many. Otherwise how many were left out before.
    fn admit(&self, now: Instant) -> Option<u64> {
        let mut told = self.told.lock();
        if told.since.is_none_or(|since| now.saturating_duration_since(since) >= PERIOD) {
            (told.since, told.lines) = (Some(now), 0);
        }
        if told.lines == PANICS {
            told.left_out += 1;
            return None;
        }
        told.lines += 1;
        Some(std::mem::take(&mut told.left_out))
    }
}

fn subscriber(options: Options, out: impl Write + Send + 'static) -> (impl tracing::Subscriber + Send + Sync, Log) {
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(MAX_LINES).thread_name("log");
    let (writer, guard) = builder.finish(out);
    let dropped = writer.error_counter();
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match options.format {
        Format::Json => Box::new(fmt::layer().json().flatten_event(true).with_writer(writer)),
        Format::Text => Box::new(fmt::layer().with_ansi(false).with_writer(OneLine(Arc::new(writer)))),
    };
    let (filter, level) = reload::Layer::new(filter(options.level));
    (tracing_subscriber::registry().with(layer.with_filter(filter)), Log { _guard: guard, dropped, level })
}

/// Libraries speak at our level only when they are asked about: from debug on they tell of every connection, and h2 of every
/// frame, as fast as a peer sends them. At trace pingora writes down heads, with the credentials in them, so that it is never
/// asked for that.
fn filter(level: Level) -> Targets {
    let libraries = if level >= Level::DEBUG { Level::DEBUG } else { level.min(Level::WARN) };
    Targets::new()
        .with_default(LevelFilter::from_level(libraries))
        .with_target("h2", level.min(Level::WARN))
        .with_target("countersign", level)
        .with_target("librdkafka", level)
}

/// Escapes control characters: what a client or an authorizer sent may be quoted in a line and must not start another
/// one, or steer a terminal.
#[derive(Debug, Clone)]
struct OneLine(Arc<NonBlocking>);

#[derive(Debug)]
struct OneLineWriter(NonBlocking);

impl<'a> MakeWriter<'a> for OneLine {
    type Writer = OneLineWriter;

    fn make_writer(&'a self) -> Self::Writer {
        OneLineWriter(NonBlocking::clone(&self.0))
    }
}

impl Write for OneLineWriter {
    /// The formatter hands over one whole line at a time, with its line feed.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write_all(one_line(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn one_line(text: &str) -> String {
    let (line, end) = text.strip_suffix('\n').map_or((text, ""), |line| (line, "\n"));
    let mut escaped = String::with_capacity(text.len());
    for character in line.chars() {
        // U+2028 and U+2029 are line ends to some viewers.
        if character.is_control() || matches!(character, '\u{2028}' | '\u{2029}') {
            escaped.extend(character.escape_unicode());
        } else {
            escaped.push(character);
        }
    }
    escaped + end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format, level: Level, say: impl FnOnce()) -> String {
        let captured = Captured::default();
        let (subscriber, log) = subscriber(Options { format, level }, captured.clone());
        tracing::subscriber::with_default(subscriber, say);
        drop(log);
        String::from_utf8(captured.0.lock().clone()).unwrap()
    }

    #[test]
    fn a_line_of_text_stays_one_line() {
        let text = logged(Format::Text, Level::INFO, || {
            tracing::info!(user = "a\r\nERROR forged\u{1b}[2J", "said\n2026 more");
        });
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        assert!(text.contains("forged") && !text.contains('\u{1b}') && !text.contains('\r'), "{text}");
    }

    #[test]
    fn json_is_an_object_a_line() {
        let text = logged(Format::Json, Level::INFO, || {
            tracing::info!(user = "a\nb", "one");
            tracing::debug!("not shown");
            tracing::warn!("two");
        });
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!(lines[0]["user"], "a\nb");
        assert_eq!(lines[1]["level"], "WARN");
    }

    #[test]
    fn the_level_changes_while_it_runs() {
        let captured = Captured::default();
        let options = Options { format: Format::Text, level: Level::INFO };
        let (subscriber, log) = subscriber(options, captured.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!("before");
            log.level()(Level::DEBUG);
            tracing::debug!("after");
        });
        drop(log);
        let text = String::from_utf8(captured.0.lock().clone()).unwrap();
        assert!(text.contains("after") && !text.contains("before"), "{text}");
    }

    #[test]
    fn libraries_speak_when_something_is_wrong() {
        let text = logged(Format::Text, Level::INFO, || {
            tracing::info!(target: "pingora_core", "chatter");
            tracing::warn!(target: "pingora_core", "trouble");
        });
        assert!(text.contains("trouble") && !text.contains("chatter"), "{text}");
    }

    /// The hook is the whole process's, so it is a process of its own that panics.
    #[test]
    fn a_panic_is_logged_by_its_place_and_without_its_words() {
        const CHILD: &str = "COUNTERSIGN_TEST_PANICS";
        const NAME: &str = "log::tests::a_panic_is_logged_by_its_place_and_without_its_words";
        if std::env::var_os(CHILD).is_some() {
            let log = start(Options { format: Format::Json, level: Level::INFO }).unwrap();
            let thread = std::thread::Builder::new().name("decider".to_owned());
            let panics = || panic!("cannot parse alice's {}", "password");
            assert!(thread.spawn(panics).unwrap().join().is_err());
            return drop(log);
        }
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let ended = child.args([NAME, "--exact", "--nocapture"]).env(CHILD, "1").output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(ended.status.success(), "{said}");
        let lines: Vec<serde_json::Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 1, "{said}");
        assert_eq!((&lines[0]["level"], &lines[0]["thread"]), (&"ERROR".into(), &"decider".into()));
        assert!(lines[0]["file"].as_str().unwrap().ends_with("log.rs") && lines[0]["line"].as_u64() > Some(0));
        assert!(!said.contains("alice") && !said.contains("password"), "{said}");
    }

    #[test]
    fn a_defect_that_everybody_meets_is_told_ten_times_and_counted() {
        let (panics, begun) = (Panics::default(), Instant::now());
        let told = (0..1000).filter(|_| panics.admit(begun).is_some()).count();
        assert_eq!(told, 10);
        assert_eq!(panics.admit(begun + PERIOD), Some(990));
        assert_eq!(panics.admit(begun + PERIOD), Some(0));
    }

    #[test]
    fn a_stuck_terminal_costs_lines_and_not_time() {
        struct Stuck(std::sync::mpsc::Receiver<()>);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.recv().ok();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (release, stuck) = std::sync::mpsc::channel();
        let options = Options { format: Format::Text, level: Level::INFO };
        let (subscriber, log) = subscriber(options, Stuck(stuck));
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..MAX_LINES + 100 {
                tracing::info!("line");
            }
        });
        assert!((98..=100).contains(&log.lines_dropped()()), "{}", log.lines_dropped()());
        drop(release);
    }
}
