//! Waits for a publisher to have shipped everything, with a bar on a terminal; ends early on a signal or after a while,
//! and in each case in order: what is acknowledged is in the cursor.

use std::future::pending;
use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

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

pub(super) struct Shipping {
    pub publisher: Publisher,
    pub tally: Arc<Tally>,
    pub timeout: Option<Duration>,
}

impl Shipping {
    pub(super) fn wait(self) -> anyhow::Result<Outcome> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
        let bar = bar(self.tally.total);
        let stopped = runtime.block_on(async {
            let mut interrupt = signal(SignalKind::interrupt())?;
            let mut terminate = signal(SignalKind::terminate())?;
            tokio::select! {
                () = self.finished(&bar) => Ok(None),
                () = over(self.timeout) => Ok(Some("time is over")),
                _ = interrupt.recv() => Ok(Some("interrupted")),
                _ = terminate.recv() => Ok::<_, io::Error>(Some("terminated")),
            }
        });
        let ending = self.publisher.shutdown(if matches!(stopped, Ok(None)) { END } else { Duration::ZERO });
        bar.finish_and_clear();
        let stopped = stopped.context("signals cannot be watched")?;
        Ok(match (ending, stopped) {
            (Ending::Drained, _) => Outcome::Drained,
            (_, Some(why)) => Outcome::Left(why),
            (_, None) => Outcome::Left("the cursor could not be written"),
        })
    }

    async fn finished(&self, bar: &ProgressBar) {
        while !self.tally.is_finished() {
            bar.set_position(self.tally.acknowledged());
            tokio::time::sleep(LOOK).await;
        }
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
