//! The addresses of an authorizer's host. A name is looked up again every half minute behind the questions' back,
//! and its last good addresses serve while the name service is away. Called by `authorizer::webhook`.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::authorizer::url::Host;

/// After this, addresses are looked up again while they go on serving.
pub const REFRESH: Duration = Duration::from_secs(30);
/// After this without a good lookup, addresses are no longer believed.
pub const BELIEVED: Duration = Duration::from_secs(300);
/// How long a lookup is waited for. Nothing can end it: it holds a thread of the runtime until the system gives up.
const LOOKUP: Duration = Duration::from_secs(10);
/// More addresses than anybody would try.
const MAX_ADDRESSES: usize = 16;

type Found = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;
type Lookup = dyn Fn() -> Found + Send + Sync;

/// Cheap to clone; all clones share one state.
#[derive(Clone)]
pub struct Resolver(Source);

#[derive(Clone)]
enum Source {
    Fixed(Arc<[SocketAddr]>),
    Name(Arc<Name>),
}

struct Name {
    lookup: Box<Lookup>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    good: Option<(Arc<[SocketAddr]>, Instant)>,
    /// The lookup that is under way. Never more than one: a slow name service must not eat all threads.
    running: Option<watch::Receiver<()>>,
}

impl Resolver {
    pub fn new(host: &Host, port: u16) -> Self {
        match host {
            Host::Address(address) => Self(Source::Fixed(Arc::new([SocketAddr::new(*address, port)]))),
            Host::Name(name) => {
                let name: Arc<str> = name.as_str().into();
                Self::with_lookup(move || {
                    let name = name.clone();
                    Box::pin(async move { Ok(tokio::net::lookup_host((&*name, port)).await?.collect()) })
                })
            }
        }
    }

    pub(super) fn with_lookup(lookup: impl Fn() -> Found + Send + Sync + 'static) -> Self {
        Self(Source::Name(Arc::new(Name { lookup: Box::new(lookup), state: Mutex::default() })))
    }

    /// Addresses to try in turn, at least one; `None` where the name cannot be resolved. Waits only where no
    /// believable address is known, and then for at most 10 s.
    pub async fn addresses(&self) -> Option<Arc<[SocketAddr]>> {
        let name = match &self.0 {
            Source::Fixed(addresses) => return Some(addresses.clone()),
            Source::Name(name) => name,
        };
        let now = Instant::now();
        let mut ended = {
            let mut state = name.state.lock();
            let believed = state.believed(now);
            if let Some((addresses, age)) = &believed
                && *age < REFRESH
            {
                return Some(addresses.clone());
            }
            let ended = name.refresh(&mut state);
            if let Some((addresses, _)) = believed {
                return Some(addresses);
            }
            ended
        };
        // Over, which is the end of its sender, or too slow: what is known by then counts.
        drop(timeout(LOOKUP, ended.changed()).await);
        name.state.lock().believed(Instant::now()).map(|(addresses, _)| addresses)
    }
}

impl State {
    fn believed(&self, now: Instant) -> Option<(Arc<[SocketAddr]>, Duration)> {
        let (addresses, found) = self.good.as_ref()?;
        let age = now.saturating_duration_since(*found);
        (age < BELIEVED).then(|| (addresses.clone(), age))
    }
}

impl Name {
    /// Starts a lookup unless one is under way.
    fn refresh(self: &Arc<Self>, state: &mut State) -> watch::Receiver<()> {
        if let Some(running) = &state.running
            && running.has_changed().is_ok()
        {
            return running.clone();
        }
        let (ends, ended) = watch::channel(());
        state.running = Some(ended.clone());
        let name = self.clone();
        tokio::spawn(async move {
            let asked = Instant::now();
            if let Ok(mut addresses) = (name.lookup)().await
                && !addresses.is_empty()
            {
                addresses.truncate(MAX_ADDRESSES);
                name.state.lock().good = Some((addresses.into(), asked));
            }
            // Only now, so that whoever waits finds what was found.
            drop(ends);
        });
        ended
    }
}

#[cfg(test)]
mod tests;
