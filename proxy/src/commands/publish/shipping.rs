//! Waits for a publisher to have shipped everything, with a bar on a terminal; ends early on a signal or after a while,
//! and in each case in order: what is acknowledged is in the cursor.

use std::future::pending;
use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::audit::publisher::{Ending, Publisher};
use crate::audit::tally::Tally;

/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(50);
/// For the publisher to end once everything is acknowledged: it has a cursor to write.
const END: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Drained,
    /// Why not.
    Left(&'static str),
}

/// Hears of signals. Made before anything is published: until then one ends the process by itself.
pub(super) struct Signals {
    runtime: Runtime,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(super) fn watch() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
        let inside = runtime.enter();
        let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
        drop(inside);
        let unwatched = "signals cannot be watched";
        Ok(Self { runtime, interrupt: interrupt.context(unwatched)?, terminate: terminate.context(unwatched)? })
    }
}

pub(super) struct Shipping {
    pub signals: Signals,
    pub publisher: Publisher,
    pub tally: Arc<Tally>,
    pub timeout: Option<Duration>,
}

impl Shipping {
    pub(super) fn wait(self) -> Outcome {
        let Self { signals: Signals { runtime, mut interrupt, mut terminate }, publisher, tally, timeout } = self;
        let bar = bar(tally.total);
        let stopped = runtime.block_on(async {
            tokio::select! {
                () = finished(&tally, &bar) => None,
                () = over(timeout) => Some("time is over"),
                _ = interrupt.recv() => Some("interrupted"),
                _ = terminate.recv() => Some("terminated"),
            }
        });
        let ending = publisher.shutdown(if stopped.is_none() { END } else { Duration::ZERO });
        bar.finish_and_clear();
        match (ending, stopped) {
            (Ending::Drained, _) => Outcome::Drained,
            (_, Some(why)) => Outcome::Left(why),
            (_, None) => Outcome::Left("the cursor could not be written"),
        }
    }
}

async fn finished(tally: &Tally, bar: &ProgressBar) {
    while !tally.is_finished() {
        bar.set_position(tally.acknowledged());
        tokio::time::sleep(LOOK).await;
    }
}

async fn over(timeout: Option<Duration>) {
    match timeout {
        Some(timeout) => tokio::time::sleep(timeout).await,
        None => pending().await,
    }
}

/// On a terminal only.
fn bar(total: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = if total > 0 { ProgressBar::new(total) } else { ProgressBar::new_spinner() };
    let form = if total > 0 {
        "{bar:40} {pos} of {len} records, {per_sec}, {eta} left"
    } else {
        "{spinner} {pos} records, {per_sec}"
    };
    bar.set_style(ProgressStyle::with_template(form).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
