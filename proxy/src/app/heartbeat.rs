//! A sign of life that only what decides can give: a task on the threads of the decision listener takes the locks of the
//! cache and of the questions under way, and then says so. Where those threads are stuck, or such a lock is never given
//! back, nothing is said, and systemd starts the process again. Not a health check: a disk or an authorizer that fails is no
//! reason to be restarted. Used by `app`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::{ListenFds, RuntimeOpts, ShutdownWatch};
use pingora::services::Service;
use tokio::net::TcpStream;

use super::systemd::Systemd;
use crate::pipeline::Pipeline;

/// Between two looks whether the listeners are there.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Between two signs of life while no record can be made durable, as in the moment after a start: whoever looks at the
/// status then is told when that is over.
const WHILE_DENYING: Duration = Duration::from_millis(500);

/// What the sign of life is about.
#[derive(Clone)]
pub(super) struct Heartbeat {
    pub systemd: Systemd,
    pub pipeline: Arc<Pipeline>,
    /// All that must accept before we are ready.
    pub listeners: Vec<SocketAddr>,
}

impl Heartbeat {
    async fn run(self) {
        let Some(every) = self.systemd.every() else { return };
        for listener in self.listeners {
            until_it_accepts(listener).await;
        }
        let pipeline = self.pipeline;
        self.systemd.bound(pipeline.pulse());
        beat(every, || pipeline.pulse(), |recording| self.systemd.alive(recording)).await;
    }
}

/// pingora does not say when it has bound.
async fn until_it_accepts(listener: SocketAddr) {
    while TcpStream::connect(listener).await.is_err() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// `alive` is told what `pulse` found, again and again, for as long as this is polled and `pulse` returns.
async fn beat(every: Duration, pulse: impl Fn() -> bool, alive: impl Fn(bool)) {
    loop {
        let recording = pulse();
        alive(recording);
        tokio::time::sleep(if recording { every } else { every.min(WHILE_DENYING) }).await;
    }
}

/// A listener on whose threads the heart beats.
pub(super) struct Beating<S> {
    pub service: S,
    pub heartbeat: Heartbeat,
}

#[async_trait]
impl<S: Service> Service for Beating<S> {
    async fn start_service(&mut self, fds: Option<ListenFds>, shutdown: ShutdownWatch, listeners_per_fd: usize) {
        // On the runtime of this service; it ends with it.
        tokio::spawn(self.heartbeat.clone().run());
        self.service.start_service(fds, shutdown, listeners_per_fd).await;
    }

    fn name(&self) -> &str {
        self.service.name()
    }

    fn threads(&self) -> Option<usize> {
        self.service.threads()
    }

    fn runtime_opts_override(&self, global: &RuntimeOpts) -> Option<RuntimeOpts> {
        self.service.runtime_opts_override(global)
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        self.service.listen_addresses()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use parking_lot::Mutex;

    use super::*;

    const EVERY: Duration = Duration::from_millis(5);
    /// Many times [`EVERY`]. A heart that does not beat fails no test for being looked at too shortly.
    const LONG: Duration = Duration::from_millis(300);
    const PATIENCE: Duration = Duration::from_secs(30);

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    }

    fn next(beats: &mpsc::Receiver<bool>) -> Option<bool> {
        // What was said before does not count.
        beats.try_iter().for_each(drop);
        beats.recv_timeout(LONG).ok()
    }

    #[test]
    fn it_stops_while_the_threads_that_serve_are_stuck() {
        let runtime = runtime();
        let (alive, beats) = mpsc::channel();
        runtime.spawn(beat(EVERY, || true, move |is| alive.send(is).unwrap_or(())));
        assert_eq!(beats.recv_timeout(PATIENCE), Ok(true));
        let (let_go, stuck) = mpsc::channel::<()>();
        let stuck = Arc::new(Mutex::new(stuck));
        let (inside, entered) = mpsc::channel();
        for _ in 0..2 {
            let (stuck, inside) = (stuck.clone(), inside.clone());
            runtime.spawn(async move {
                inside.send(()).unwrap();
                // What no task may do: it blocks its thread.
                stuck.lock().recv().ok();
            });
        }
        (0..2).for_each(|_| entered.recv_timeout(PATIENCE).unwrap());
        assert_eq!(next(&beats), None, "it beats though nobody can answer");
        drop(let_go);
        assert_eq!(beats.recv_timeout(PATIENCE), Ok(true), "it goes on when the threads do");
    }

    /// Seen: a second after a start `systemctl status` said that everything is denied, for as long as half the watchdog's time.
    #[test]
    fn that_records_are_durable_now_is_said_soon() {
        let runtime = runtime();
        let (alive, beats) = mpsc::channel();
        let recording = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let looked = recording.clone();
        let pulse = move || looked.swap(true, std::sync::atomic::Ordering::Relaxed);
        runtime.spawn(beat(Duration::from_secs(3600), pulse, move |is| alive.send(is).unwrap_or(())));
        assert_eq!(beats.recv_timeout(PATIENCE), Ok(false));
        assert_eq!(beats.recv_timeout(PATIENCE), Ok(true));
    }

    #[test]
    fn it_stops_while_a_lock_of_the_decision_is_held() {
        let runtime = runtime();
        let (alive, beats) = mpsc::channel();
        let lock = Arc::new(Mutex::new(()));
        let taken = lock.clone();
        runtime.spawn(beat(
            EVERY,
            move || {
                drop(taken.lock());
                false
            },
            move |is| alive.send(is).unwrap_or(()),
        ));
        assert_eq!(beats.recv_timeout(PATIENCE), Ok(false), "an outage is no reason to be restarted");
        let held = lock.lock();
        // One may have been under way.
        next(&beats);
        assert_eq!(next(&beats), None);
        drop(held);
        assert_eq!(beats.recv_timeout(PATIENCE), Ok(false));
    }
}
