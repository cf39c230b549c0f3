//! Builds and wires every part, starts them in order and stops them in order. The only place, with `commands`, that sees
//! the configuration.
//!
//! Start: configuration mistakes and what waiting cannot mend end the process before anything binds. Then the front
//! binds, at once, whether or not the spool is usable: a MinIO that finds nobody at start serves root unasked.
//! Stop: drain, close the chain, ship what is left for a few seconds, flush spans.

pub mod hardening;
mod heartbeat;
pub mod parts;
pub mod reload;
pub mod signals;
mod systemd;
mod topics;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora::apps::ServerApp;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server};
use pingora::services::listening::Service;

use crate::admin::{Admin, Readiness};
use crate::app::heartbeat::{Beating, Heartbeat};
use crate::app::parts::PartError;
use crate::app::reload::{Hangup, Reloader};
use crate::app::signals::Stop;
use crate::app::systemd::Systemd;
use crate::audit::accessed;
use crate::audit::publisher::{Ending, Publisher};
use crate::audit::spool::{Spool, StartError};
use crate::config::Loaded;
use crate::front::connection::Connections;
use crate::front::{Draining, Front};
use crate::log::Log;
use crate::metrics::Metrics;
use crate::pipeline::Pipeline;
use crate::status::{self, Status};
use crate::trace::Tracer;

/// How long the chain may take to be closed and synced.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);
/// How long what is left is shipped; the rest at the next start.
const SHIP_LIMIT: Duration = Duration::from_secs(5);
/// How long spans may take to leave.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);
/// Whole seconds between the end of the drain and the end of the listeners' tasks: what a slow authorizer may take.
const GRACE_SECONDS: u64 = 2;

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error(transparent)]
    Part(#[from] PartError),
    #[error("spool: {0}")]
    Spool(#[from] StartError),
    #[error("cannot listen on {address}: {error}")]
    Bind { address: SocketAddr, error: std::io::Error },
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

impl AppError {
    /// Whether editing the configuration, or what it points to, is the remedy.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Part(PartError::Thread(_)) | Self::Spool(StartError::Thread(_)) => false,
            Self::Part(_) | Self::Spool(_) => true,
            Self::Bind { .. } | Self::Thread(_) => false,
        }
    }
}

/// A Countersign that is built and not yet answering.
pub struct App {
    server: Server,
    spool: Spool,
    publisher: Option<Publisher>,
    /// Looks for readers of the spool.
    accessed: accessed::Watch,
    /// Looks at the metrics for the status page.
    looking: status::Watch,
    tracer: Tracer,
    readiness: Readiness,
    draining: Draining,
    drain: Duration,
    systemd: Systemd,
    /// Absent where there is no file to read again.
    reload: Option<(Reloader, Hangup)>,
}

impl App {
    /// Builds everything. The spool opens in the background, and tries again while it cannot. `file` is where the
    /// configuration came from, to be read again.
    pub fn build(loaded: &Loaded, file: Option<&Path>, log: &Log) -> Result<Self, AppError> {
        let config = &loaded.config;
        for address in [config.listen.address, config.admin.address] {
            // pingora would only say so from within; the port is ours again a moment later.
            TcpListener::bind(address).map_err(|error| AppError::Bind { address, error })?;
        }
        let generation: Arc<str> = config.generation().into();
        let systemd = Systemd::start(&generation).map_err(AppError::Thread)?;
        let metrics = Metrics::new(&parts::names(config, &generation));
        metrics.watch_log(log.lines_dropped());
        let decider = parts::decider(config, 1, &metrics)?;
        let tracer = parts::tracer(config, &metrics)?;
        let privacy = parts::privacy(config)?;
        let secure = parts::secure(config)?;
        let sink = parts::sink(config, &metrics)?;
        // From here on there is a chain, which only `run` closes.
        let (spool, backlog) = parts::spool(config, &privacy, &generation, &metrics)?;
        let publisher = parts::publisher(config, (backlog, sink), &metrics, &tracer)?;
        let accessed = accessed::Watch::spawn(spool.clone(), &config.audit.spool).map_err(AppError::Thread)?;

        let status = Status::new(metrics.clone(), spool.clone(), parts::status(config));
        let looking = status.watch().map_err(AppError::Thread)?;
        let options = parts::pipeline(config, privacy, generation);
        let pipeline = Arc::new(Pipeline::new(decider, spool.clone(), tracer.clone(), metrics.clone(), options));
        let (readiness, draining) = (Readiness::default(), Draining::default());
        let access = Arc::new(ArcSwap::from_pointee(parts::access(config)));
        let purge = parts::purge(&access, &pipeline);
        let admin = Admin::new(metrics.clone(), readiness.clone()).showing(status).purging(purge);
        let options = parts::front(config);
        metrics.listener_certificate(parts::listener_certificate(config, secure.as_deref()));
        let front = Arc::new(Front::new(pipeline.clone(), spool.clone(), metrics.clone(), draining.clone(), options));
        front.secure(secure);
        let level = Box::new(log.level());

        let mut server = server();
        let heartbeat = Heartbeat {
            systemd: systemd.clone(),
            pipeline: pipeline.clone(),
            listeners: vec![config.listen.address, config.admin.address],
        };
        let service = service("front", Connections::new(front.clone()), config.listen.address, None);
        server.add_service(Beating { service, heartbeat });
        server.add_service(self::service("admin", admin, config.admin.address, Some(1)));
        let running =
            reload::Running { pipeline, front, access, spool: spool.clone(), metrics, level, systemd: systemd.clone() };
        let reload = file.map(|file| Reloader::new(running, file.to_owned(), loaded));
        let drain = config.listen.drain;
        Ok(Self { server, spool, publisher, accessed, looking, tracer, readiness, draining, drain, systemd, reload })
    }

    /// One more listener in the same process; the demo's authorizer.
    pub fn add<A: ServerApp + Send + Sync + 'static>(&mut self, name: &str, app: A, address: SocketAddr) {
        self.server.add_service(service(name, app, address, Some(1)));
    }

    /// Answers until told to stop, then stops in order. Returns when everything has ended.
    pub fn run(self, stop: Stop) {
        let Self { server, spool, publisher, accessed, looking, tracer, readiness, draining, drain, systemd, reload } =
            self;
        let hangup = reload.and_then(|(reloader, hangup)| match reloader.spawn() {
            Ok(()) => Some(hangup),
            Err(error) => {
                tracing::error!(%error, "no thread to read the configuration again with; a change needs a restart");
                None
            }
        });
        let begin = move || {
            readiness.drain();
            draining.begin();
            systemd.stopping(drain);
        };
        server.run(RunArgs { shutdown_signal: Box::new(stop.watch(drain, begin, hangup)) });
        tracing::info!("no longer listening; closing the chain");
        drop(accessed);
        drop(looking);
        if !spool.close(CLOSE_LIMIT) {
            tracing::error!("the chain could not be closed in time; the next start will say so in its first record");
        }
        if let Some(publisher) = publisher {
            match publisher.shutdown(SHIP_LIMIT) {
                Ending::Drained => tracing::info!("every record is in Kafka"),
                other => tracing::warn!(?other, "records are left in the spool; the next start ships them"),
            }
        }
        spool.unlock();
        tracer.shutdown(FLUSH_LIMIT);
        tracing::info!("stopped");
    }
}

fn server() -> Server {
    let conf = ServerConf {
        threads: std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
        grace_period_seconds: Some(GRACE_SECONDS),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    server
}

fn service<A>(name: &str, app: A, address: SocketAddr, threads: Option<usize>) -> Service<A> {
    let mut service = Service::new(name.to_owned(), app);
    service.add_tcp(&address.to_string());
    service.threads = threads;
    service
}

#[cfg(test)]
mod tests {
    use super::*;

    /// systemd starts a process again, unless it ended with what says that its configuration is wrong.
    #[test]
    fn a_want_of_threads_is_no_mistake_in_the_configuration() {
        let none = || std::io::Error::from(std::io::ErrorKind::WouldBlock);
        let wants: [AppError; 3] =
            [AppError::Thread(none()), PartError::Thread(none()).into(), StartError::Thread(none()).into()];
        for want in wants {
            assert!(!want.is_configuration(), "{want}");
        }
        assert!(AppError::from(StartError::Symlink("/spool".into())).is_configuration());
        assert!(AppError::from(PartError::Kafka("a property".to_owned())).is_configuration());
    }
}
