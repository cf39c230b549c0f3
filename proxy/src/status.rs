//! `/status`: one page for people who have no Grafana at hand, and the same as JSON. Shows what `/metrics` says, seen over
//! the last minutes; counts nothing itself and decides nothing. A thread looks at the metrics every few seconds into a
//! bounded ring. Built by `app`, asked by `admin`.

mod chart;
mod page;
mod problems;
mod sample;
mod view;
mod words;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::audit::spool::Spool;
use crate::metrics::Metrics;
use sample::Sample;
use view::View;

pub use page::content_security_policy;

/// Between two looks at the metrics.
const STEP: Duration = Duration::from_secs(5);
/// Looks kept: a quarter of an hour, and the one before.
const KEPT: usize = 181;
/// A look that is younger is shown again, so that whoever asks often costs little.
const FRESH: Duration = Duration::from_secs(1);

/// What the page says that is in no metric.
#[derive(Debug, Clone)]
pub struct Options {
    pub instance: String,
    /// Records are delivered to Kafka.
    pub kafka: bool,
}

/// The metrics at one moment.
#[derive(Debug, Clone)]
struct Look {
    at: Instant,
    sample: Arc<Sample>,
}

/// Answers both pages.
pub struct Status {
    metrics: Arc<Metrics>,
    spool: Spool,
    options: Options,
    looks: Mutex<VecDeque<Look>>,
    /// For those who ask between two looks.
    latest: Mutex<Option<Look>>,
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Status").field("options", &self.options).finish_non_exhaustive()
    }
}

/// The thread that looks. It ends when dropped.
#[derive(Debug)]
pub struct Watch {
    stop: Option<flume::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Status {
    pub fn new(metrics: Arc<Metrics>, spool: Spool, options: Options) -> Arc<Self> {
        let (looks, latest) = (Mutex::default(), Mutex::default());
        let status = Self { metrics, spool, options, looks, latest };
        status.look();
        Arc::new(status)
    }

    /// Errors: the operating system has no thread for us.
    pub fn watch(self: &Arc<Self>) -> io::Result<Watch> {
        let (stop, stopped) = flume::bounded::<()>(1);
        let status = Arc::clone(self);
        let work = move || {
            while matches!(stopped.recv_timeout(STEP), Err(flume::RecvTimeoutError::Timeout)) {
                status.look();
            }
        };
        let thread = std::thread::Builder::new().name("status".to_owned()).spawn(work)?;
        Ok(Watch { stop: Some(stop), thread: Some(thread) })
    }

    /// The page for people, self-contained HTML.
    pub fn html(&self, ready: bool) -> String {
        page::html(&self.view(ready))
    }

    /// The same for programs. Members may be added, none is renamed.
    pub fn json(&self, ready: bool) -> String {
        // A view always becomes JSON: no number in it is none.
        serde_json::to_string_pretty(&self.view(ready)).unwrap_or_default() + "\n"
    }

    fn look(&self) {
        let look = self.read();
        let mut looks = self.looks.lock();
        if looks.len() == KEPT {
            looks.pop_front();
        }
        looks.push_back(look);
    }

    fn read(&self) -> Look {
        Look { at: Instant::now(), sample: Arc::new(Sample::read(&self.metrics.encode())) }
    }

    fn view(&self, ready: bool) -> View {
        let now = {
            let mut latest = self.latest.lock();
            match &*latest {
                Some(look) if look.at.elapsed() < FRESH => look.clone(),
                Some(_) | None => latest.insert(self.read()).clone(),
            }
        };
        let mut looks: Vec<Look> = self.looks.lock().iter().filter(|look| look.at < now.at).cloned().collect();
        looks.push(now);
        View::of(&looks, &self.spool.status(), self.spool.recent(), &self.options, ready, SystemTime::now())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("looking at the metrics for the status page ended with a panic");
        }
    }
}
