//! The MinIOs that take turns, one for each way to decide, each with the same user and the same objects. All are idle but
//! the one whose turn it is.

use anyhow::{Context, ensure};

use super::super::countersign::{Proved, Setting};
use super::super::{Options, countersign, peers};
use super::call::{BUCKET, Call, OBJECTS, SECRET, USER};
use crate::laboratory::Laboratory;
use crate::laboratory::kafka::Kafka;
use crate::laboratory::minio::{Minio, ROOT_PASSWORD, ROOT_USER};
use crate::laboratory::opa::Opa;
use crate::laboratory::pingora::Pingora;
use crate::load::{Load, Mix};
use crate::up;

/// Who decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Decider {
    /// MinIO's own policies, without a plug-in
    Itself,
    /// A webhook that does nothing: no other can be faster
    Constant,
    Opa,
    /// With OPA behind, cached, as it is by default
    Synced,
    /// The same with `durability = "written"`
    Written,
    /// The same with `durability = "acknowledged"`, by a Kafka of one broker
    Acknowledged,
    /// Synced, and OPA is asked every time
    Uncached,
}

impl Decider {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Itself => "no plug-in",
            Self::Constant => "constant webhook",
            Self::Opa => "OPA",
            Self::Synced => "Countersign, synced",
            Self::Written => "Countersign, written",
            Self::Acknowledged => "Countersign, acknowledged",
            Self::Uncached => "Countersign, synced, uncached",
        }
    }
}

impl Decider {
    /// Of a Countersign.
    fn durability(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Acknowledged => "acknowledged",
            Self::Itself | Self::Constant | Self::Opa | Self::Synced | Self::Uncached => "synced",
        }
    }

    /// More of its configuration.
    fn tables(self, kafka: Option<&Kafka>) -> String {
        match self {
            Self::Acknowledged => kafka.map(peers::published).unwrap_or_default(),
            Self::Uncached => peers::NO_CACHE.to_owned(),
            Self::Itself | Self::Constant | Self::Opa | Self::Synced | Self::Written => String::new(),
        }
    }
}

/// A MinIO, and the processes that a call costs time of.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) decider: Decider,
    pub(super) host: String,
    pub(super) pids: Vec<u32>,
    _minio: Minio,
}

/// What runs. Fields are dropped in this order: whoever asks goes before whoever answers.
#[derive(Debug)]
pub(super) struct Stand {
    pub(super) sides: Vec<Side>,
    pub(super) binary: String,
    _countersigns: Vec<Proved>,
    _opa: Opa,
    _constant: Pingora,
    _kafka: Option<Kafka>,
}

impl Stand {
    pub(super) async fn start(options: &Options, deciders: &[Decider]) -> anyhow::Result<Self> {
        let lab = Laboratory::open()?;
        let binary = up::binary().await?;
        let opa = peers::opa(&lab, false).await?;
        let constant = lab.pingora(&peers::loadtest()?).start().await?;
        let acknowledged = deciders.contains(&Decider::Acknowledged);
        let kafka = if acknowledged { Some(peers::kafka(&lab).await?) } else { None };
        let (mut sides, mut countersigns) = (Vec::new(), Vec::new());
        for decider in deciders {
            eprintln!("starting MinIO with {}", decider.name());
            let (url, mut pids) = match decider {
                Decider::Itself => (None, Vec::new()),
                Decider::Constant => (Some(constant.url()), vec![peers::pid(&constant)?]),
                Decider::Opa => (Some(peers::rule(&opa)), vec![peers::pid(&opa)?]),
                Decider::Synced | Decider::Written | Decider::Acknowledged | Decider::Uncached => {
                    let tables = decider.tables(kafka.as_ref());
                    let durability = decider.durability();
                    let setting = Setting { url: &peers::rule(&opa), durability, tables: &tables };
                    let spool_in = &options.spool_in;
                    let proved = countersign::start_as(&lab, &binary, spool_in, &peers::question(), &setting).await?;
                    let pids = vec![peers::pid(&proved.countersign)?, peers::pid(&opa)?];
                    let url = proved.countersign.url();
                    countersigns.push(proved);
                    (Some(url), pids)
                }
            };
            let (host, minio) = minio(&lab, url.as_deref()).await.with_context(|| decider.name())?;
            pids.push(peers::pid(&minio)?);
            sides.push(Side { decider: *decider, host, pids, _minio: minio });
        }
        let binary = binary.display().to_string();
        Ok(Self { sides, binary, _countersigns: countersigns, _opa: opa, _constant: constant, _kafka: kafka })
    }
}

/// A MinIO with the bucket, the user and the objects.
async fn minio(lab: &Laboratory, plugin: Option<&str>) -> anyhow::Result<(String, Minio)> {
    let setup = lab.minio();
    let minio = match plugin {
        Some(url) => setup.plugin(url, None).start().await?,
        None => setup.start().await?,
    };
    let mc = minio.mc()?.alias("root", ROOT_USER, ROOT_PASSWORD).user(USER, SECRET).await?;
    mc.run(&["mb", &format!("root/{BUCKET}")]).await?;
    if plugin.is_none() {
        mc.run(&["admin", "policy", "attach", "root", "readwrite", "--user", USER]).await?;
    }
    let host = minio.url().trim_start_matches("http://").to_owned();
    for number in 0..OBJECTS {
        once(&host, Call::Put, number).await?;
        for call in [Call::Head, Call::Get, Call::MultiDelete] {
            once(&host, call, number).await?;
        }
    }
    Ok((host, minio))
}

/// A call that must be granted: what is measured later must be that.
async fn once(host: &str, call: Call, number: usize) -> anyhow::Result<()> {
    let load = Load::new(format!("http://{host}/")).connections(1).rate(1000.0);
    let load = load.duration(std::time::Duration::from_millis(1)).mix(Mix::raw([call.request(host, number)?]));
    let report = if call == Call::Head { load.bodiless() } else { load }.run().await?;
    ensure!(super::granted(&report), "MinIO does not grant a {} to {USER}:\n{report}", call.name());
    Ok(())
}
