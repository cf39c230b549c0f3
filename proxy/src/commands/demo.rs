//! `countersign demo`: the whole path on one machine with nothing installed. The real front, pipeline, spool and
//! publisher; only the authorizer and the broker are stand-ins that live in this process.

mod authorizer;
mod questions;
mod tour;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use anyhow::Context as _;
use pingora::apps::http_app::HttpServer;

use crate::app::App;
use crate::app::signals::Stop;
use crate::commands::Exit;
use crate::config;
use crate::kafka::mock::MockBroker;
use crate::log;

/// What `serve` would use, if nobody else does.
const USUAL_PORTS: [u16; 2] = [8281, 9281];
const TOPIC: &str = "countersign.decisions";
const CHECKPOINT_TOPIC: &str = "countersign.checkpoints";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// End after the tour instead of serving on.
    #[arg(long)]
    exit: bool,
}

/// Where everything is.
#[derive(Debug)]
struct Addresses {
    listen: SocketAddr,
    admin: SocketAddr,
    authorizer: SocketAddr,
    broker: String,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let dir = tempfile::Builder::new().prefix("countersign-demo-").tempdir().context("a directory for the spool")?;
    let broker = MockBroker::start(&[(TOPIC, 1), (CHECKPOINT_TOPIC, 1)])?;
    let [usual, usual_admin] = USUAL_PORTS;
    let addresses =
        Addresses { listen: free(usual)?, admin: free(usual_admin)?, authorizer: free(0)?, broker: broker.bootstrap() };
    let text = configuration(&addresses, dir.path());
    let loaded = config::parse(&text, "demo", &|_| None).map_err(|mistakes| anyhow::anyhow!("{mistakes}"))?;
    let log = log::start(crate::app::parts::log(&loaded.config))?;
    let mut app = App::build(&loaded, None, &log)?;
    app.add("authorizer", HttpServer::new_app(authorizer::SampleAuthorizer), addresses.authorizer);

    let stop = Stop::default();
    let (guide, end) = (stop.clone(), args.exit);
    let tour = std::thread::Builder::new().name("tour".to_owned()).spawn(move || {
        let outcome = tour::run(&addresses);
        if end || outcome.is_err() {
            guide.now();
        }
        outcome
    })?;
    app.run(stop);
    if !tour.is_finished() {
        // Interrupted in the middle: there is nothing more to show.
        return Ok(Exit::Fine);
    }
    tour.join().map_err(|_| anyhow::anyhow!("the tour ended by a defect"))??;
    Ok(Exit::Fine)
}

/// A minimal file plus what makes a demo of it: its own ports, a broker that needs nothing, errors only in the log.
fn configuration(at: &Addresses, dir: &Path) -> String {
    format!(
        "instance = \"demo\"\n\
         [listen]\naddress = \"{}\"\ndrain = \"0s\"\n\
         [admin]\naddress = \"{}\"\n\
         [[authorizer]]\nname = \"sample\"\nurl = \"http://{}/v1/data/minio/allow\"\n\
         [audit]\nspool = \"{}\"\nmax_size = \"1GiB\"\n\
         [kafka]\nbrokers = [\"{}\"]\ntopic = \"{TOPIC}\"\ncheckpoint_topic = \"{CHECKPOINT_TOPIC}\"\n\
         [log]\nformat = \"text\"\nlevel = \"error\"\n",
        at.listen,
        at.admin,
        at.authorizer,
        dir.join("spool").display(),
        at.broker,
    )
}

/// The usual port of 127.0.0.1, or any free one.
fn free(usual: u16) -> anyhow::Result<SocketAddr> {
    let loopback = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let bound = TcpListener::bind(loopback(usual)).or_else(|_| TcpListener::bind(loopback(0)));
    Ok(bound.context("a free port")?.local_addr()?)
}
