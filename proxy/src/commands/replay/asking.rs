//! The candidate: built from the configuration or from a URL, asked like an authorizer of a route, but without its breaker.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

use super::{Dialect, ReplayArgs, Said};
use crate::app::parts;
use crate::authorizer::tls;
use crate::authorizer::url::Url;
use crate::authorizer::webhook::{self, Webhook};
use crate::commands::readers::Failure;
use crate::config;
use crate::decide::attempt::{Asking, CacheControl, DenyOnly, Guarded, Limits, RetryOn, Role};
use crate::decide::breaker;
use crate::metrics::{Metrics, Names};
use crate::policy::decided::Outcome;
use crate::policy::request::Request;
use crate::policy::verdict::Reason;
use crate::trace::Tracer;

/// Of one attempt at `--url`: a candidate is not yet tuned.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Questions in a row that reached nobody, before any was answered: the candidate is away.
const AWAY: u32 = 5;

pub(super) struct Candidate {
    guarded: Guarded,
    tracer: Tracer,
    /// Questions that reached nobody, until one did.
    unreached: AtomicU32,
    away: OnceLock<Reason>,
}

/// From then on no number of them matters.
const REACHED: u32 = u32::MAX;

impl Candidate {
    pub(super) fn of(args: &ReplayArgs) -> Result<Self, Failure> {
        let (options, limits) = match (&args.url, &args.authorizer) {
            (Some(url), _) => at_url(url, args.dialect)?,
            (None, Some(name)) => configured(&file(args)?, name)?,
            (None, None) => return Err(Failure::Usage("say whom to ask: `--authorizer` or `--url`".to_owned())),
        };
        let webhook = Webhook::new(options).map_err(|error| Failure::Usage(format!("the candidate: {error}")))?;
        // Left alone by a breaker, it would answer nothing that is to be compared.
        let breaker = breaker::Options { failures: u32::MAX, open_for: Duration::ZERO };
        let limits = Limits { breaker, ..limits };
        let guarded = Guarded::new(Arc::new(webhook), Role::Shadow, limits, Metrics::new(&Names::default()));
        let (unreached, away) = (AtomicU32::new(0), OnceLock::new());
        Ok(Self { guarded, tracer: Tracer::off(), unreached, away })
    }

    pub(super) async fn ask(&self, request: &Request) -> Said {
        let limits = self.guarded.limits();
        let cutoff = Instant::now() + limits.timeout * (limits.retries + 2);
        let trace = self.tracer.begin(None);
        let asking = Asking { request, trace: &trace, tracer: &self.tracer, cutoff };
        let verdict = self.guarded.ask(asking, &mut Vec::new()).await;
        match verdict.outcome {
            Outcome::Answered(_) | Outcome::Declared => {
                self.unreached.store(REACHED, Ordering::Relaxed);
                Ok(verdict.outcome.decision())
            }
            Outcome::Fault(reason) => {
                self.note(reason);
                Err(reason)
            }
        }
    }

    fn note(&self, reason: Reason) {
        if !matches!(reason, Reason::Dns | Reason::Connect | Reason::Tls) {
            return self.unreached.store(REACHED, Ordering::Relaxed);
        }
        self.away.get_or_init(|| reason);
        if self.unreached.load(Ordering::Relaxed) != REACHED {
            self.unreached.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Why nobody was ever reached, once that is clear: after a few questions, or when there are no more.
    pub(super) fn is_away(&self, no_more: bool) -> Option<Reason> {
        let unreached = self.unreached.load(Ordering::Relaxed);
        let clear = unreached != REACHED && (no_more || unreached >= AWAY);
        self.away.get().copied().filter(|_| clear)
    }
}

fn file(args: &ReplayArgs) -> Result<PathBuf, Failure> {
    let given = args.candidate_config.clone().or_else(|| args.reader.from.config.clone());
    given
        .or_else(|| std::env::var_os("COUNTERSIGN_CONFIG").map(PathBuf::from))
        .ok_or_else(|| Failure::Usage("`--authorizer` needs `--candidate-config` or `--config`".to_owned()))
}

fn configured(file: &Path, name: &str) -> Result<(webhook::Options, Limits), Failure> {
    let loaded = config::load(file)?;
    let authorizer = loaded.config.authorizers.iter().find(|authorizer| authorizer.name == name);
    let authorizer = authorizer.ok_or_else(|| {
        let names: Vec<_> = loaded.config.authorizers.iter().map(|it| format!("`{}`", it.name)).collect();
        Failure::Usage(format!(
            "no authorizer of `{}` is named `{name}`; there are {}",
            file.display(),
            names.join(", ")
        ))
    })?;
    Ok((parts::webhook_options(authorizer), parts::limits(authorizer)))
}

fn at_url(url: &str, dialect: Dialect) -> Result<(webhook::Options, Limits), Failure> {
    // Not repeated: it may hold a password.
    let url = Url::parse(url).map_err(|why| Failure::Usage(format!("the URL of `--url` {why}")))?;
    let server_name = url.https.then(|| url.host.clone());
    let options = webhook::Options {
        name: "candidate".into(),
        url,
        dialect: match dialect {
            Dialect::Minio => webhook::Dialect::Minio,
            Dialect::Authzen => webhook::Dialect::Authzen,
        },
        token: None,
        tls: tls::Options { server_name, ..tls::Options::default() },
        pool: 256,
    };
    let limits = Limits {
        timeout: TIMEOUT,
        retries: 1,
        retry_on: vec![RetryOn::Connect, RetryOn::ConnectionLost],
        max_in_flight: 256,
        breaker: breaker::Options { failures: u32::MAX, open_for: Duration::ZERO },
        deny_only: DenyOnly::Ask,
        cache_control: CacheControl::Ignore,
    };
    Ok((options, limits))
}
