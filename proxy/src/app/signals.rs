//! When to stop: the process's signals, or a word from within (the demo's tour). Drains first, so that a MinIO that
//! keeps idle connections loses none of its questions. Hands SIGHUP on to `reload`. Used by `app`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use super::reload::Hangup;

/// Stops the process from within.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<Notify>);

impl Stop {
    /// As if the process had been interrupted.
    pub fn now(&self) {
        self.0.notify_one();
    }

    /// `begin` is called when draining begins; `drain` later the listeners end. `hangup` is told of SIGHUP.
    pub(super) fn watch(
        self,
        drain: Duration,
        begin: impl Fn() + Send + Sync + 'static,
        hangup: Option<Hangup>,
    ) -> Watch {
        Watch { stop: self, drain, begin: Box::new(begin), hangup }
    }
}

/// What pingora waits on.
pub(super) struct Watch {
    stop: Stop,
    drain: Duration,
    begin: Box<dyn Fn() + Send + Sync>,
    hangup: Option<Hangup>,
}

/// The signals we know. A signal that cannot be watched is one that never comes.
struct Signals {
    terminate: Option<Signal>,
    interrupt: Option<Signal>,
    hangup: Option<Signal>,
}

impl Signals {
    fn new() -> Self {
        let watch =
            |kind, name| signal(kind).inspect_err(|error| tracing::error!(%error, "{name} cannot be watched for")).ok();
        Self {
            terminate: watch(SignalKind::terminate(), "SIGTERM"),
            interrupt: watch(SignalKind::interrupt(), "SIGINT"),
            hangup: watch(SignalKind::hangup(), "SIGHUP"),
        }
    }
}

async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => signal.recv().await,
        None => std::future::pending().await,
    };
}

#[async_trait]
impl ShutdownSignalWatch for Watch {
    async fn recv(&self) -> ShutdownSignal {
        let mut signals = Signals::new();
        loop {
            tokio::select! {
                () = next(&mut signals.terminate) => break,
                () = next(&mut signals.interrupt) => return self.at_once(),
                () = self.stop.0.notified() => return self.at_once(),
                () = next(&mut signals.hangup) => match &self.hangup {
                    Some(hangup) => hangup.now(),
                    None => tracing::warn!("SIGHUP: there is no configuration file to read again"),
                },
            }
        }
        tracing::info!(seconds = self.drain.as_secs_f64(), "SIGTERM: draining");
        (self.begin)();
        tokio::select! {
            () = tokio::time::sleep(self.drain) => {}
            () = next(&mut signals.interrupt) => return self.at_once(),
        }
        ShutdownSignal::GracefulTerminate
    }
}

impl Watch {
    fn at_once(&self) -> ShutdownSignal {
        tracing::info!("interrupted: stopping without draining");
        (self.begin)();
        ShutdownSignal::FastShutdown
    }
}
