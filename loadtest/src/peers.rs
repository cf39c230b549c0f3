//! The two pingora servers that Countersign is compared with, each the least that does its job: one answers a constant
//! allow, one passes through to another server with pingora's own proxy. They run as processes of their own (the hidden
//! `loadtest peer`), so that their processor time and memory are nobody else's. `laboratory/pingora` starts them.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::configuration::ServerConf;
use pingora::server::{Server, ShutdownWatch};
use pingora::services::listening::Service;
use pingora::upstreams::peer::HttpPeer;

const ALLOW: &[u8] = br#"{"result":true}"#;
/// Connections that the proxy keeps to the other server: more than there are questions at once.
const KEPT: usize = 2048;

/// Threads that a server takes by itself on this machine.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}

/// Answer a constant, or pass through: a peer of `loadtest peers`, which starts it itself
#[derive(Debug, clap::Args)]
pub struct Command {
    /// On 127.0.0.1
    #[arg(long)]
    port: u16,
    /// Pass questions on to this server instead of answering them
    #[arg(long)]
    to: Option<SocketAddr>,
    /// As many as there are cores, unless said: what Countersign has
    #[arg(long, default_value_t = cores())]
    threads: usize,
}

impl Command {
    /// Serves until it is killed.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let conf = ServerConf {
            threads: self.threads,
            upstream_keepalive_pool_size: KEPT,
            grace_period_seconds: Some(0),
            graceful_shutdown_timeout_seconds: Some(0),
            ..ServerConf::default()
        };
        let mut server = Server::new_with_opt_and_conf(None, conf);
        server.bootstrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)).to_string();
        match self.to {
            None => {
                let mut service = Service::new("constant".to_owned(), Constant::new()?);
                service.add_tcp(&address);
                server.add_service(service);
            }
            Some(to) => {
                let mut service = http_proxy_service(&server.configuration, Through(to));
                service.add_tcp(&address);
                server.add_service(service);
            }
        }
        server.run_forever()
    }
}

/// Reads a question to its end and allows it.
struct Constant {
    head: ResponseHeader,
}

impl Constant {
    fn new() -> anyhow::Result<Self> {
        let mut head = ResponseHeader::build(200, Some(2)).context("a constant answer")?;
        head.insert_header("Content-Type", "application/json")?;
        head.insert_header("Content-Length", ALLOW.len())?;
        Ok(Self { head })
    }
}

#[async_trait]
impl HttpServerApp for Constant {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        _: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if !session.read_request().await.ok()? {
            return None;
        }
        session.set_keepalive(Some(u64::from(u16::MAX)));
        while session.read_request_body().await.ok()?.is_some() {}
        session.write_response_header(Box::new(self.head.clone())).await.ok()?;
        session.write_response_body(ALLOW.into(), true).await.ok()?;
        let settings = HttpPersistentSettings::for_session(&session);
        Some(ReusedHttpStream::from_reusable_stream(session.finish().await.ok()??, settings))
    }
}

/// Passes everything to one server.
struct Through(SocketAddr);

#[async_trait]
impl ProxyHttp for Through {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _ctx: &mut ()) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.0, false, String::new())))
    }
}
