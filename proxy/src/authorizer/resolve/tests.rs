//! The name service is a list of prepared answers, the clock is stopped.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

type Script = Arc<Mutex<io::Result<Vec<SocketAddr>>>>;

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 80))
}

fn resolver(takes: Duration) -> (Resolver, Script, Arc<AtomicUsize>) {
    let script: Script = Arc::new(Mutex::new(Ok(vec![address(1), address(2)])));
    let lookups = Arc::new(AtomicUsize::new(0));
    let (answers, count) = (script.clone(), lookups.clone());
    let resolver = Resolver::with_lookup(move || {
        count.fetch_add(1, Ordering::Relaxed);
        let answer = match &*answers.lock() {
            Ok(addresses) => Ok(addresses.clone()),
            Err(error) => Err(io::Error::from(error.kind())),
        };
        Box::pin(async move {
            tokio::time::sleep(takes).await;
            answer
        })
    });
    (resolver, script, lookups)
}

async fn firsts(resolver: &Resolver) -> Option<SocketAddr> {
    resolver.addresses().await.and_then(|addresses| addresses.first().copied())
}

#[tokio::test(start_paused = true)]
async fn an_old_answer_serves_while_a_new_one_is_fetched() {
    let (resolver, script, lookups) = resolver(Duration::from_millis(5));
    assert_eq!(resolver.addresses().await.unwrap().len(), 2);
    assert_eq!(firsts(&resolver).await, Some(address(1)));
    assert_eq!(lookups.load(Ordering::Relaxed), 1);
    *script.lock() = Ok(vec![address(9)]);
    tokio::time::advance(REFRESH).await;
    assert_eq!(firsts(&resolver).await, Some(address(1)), "nobody waits for the refresh");
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(firsts(&resolver).await, Some(address(9)));
    assert_eq!(lookups.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn good_addresses_outlive_the_name_service_for_a_bounded_time() {
    let (resolver, script, _) = resolver(Duration::ZERO);
    assert_eq!(firsts(&resolver).await, Some(address(1)));
    for broken in [Err(io::Error::from(io::ErrorKind::NotFound)), Ok(Vec::new())] {
        *script.lock() = broken;
        tokio::time::advance(Duration::from_secs(140)).await;
        assert_eq!(firsts(&resolver).await, Some(address(1)));
        tokio::task::yield_now().await;
    }
    tokio::time::advance(Duration::from_secs(20)).await;
    assert_eq!(firsts(&resolver).await, None);
    *script.lock() = Ok(vec![address(3)]);
    assert_eq!(firsts(&resolver).await, Some(address(3)), "a failure is not remembered");
}

#[tokio::test(start_paused = true)]
async fn a_name_service_that_hangs_is_asked_once_at_a_time() {
    let (resolver, _, lookups) = resolver(Duration::from_secs(3_600));
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let resolver = resolver.clone();
            tokio::spawn(async move { firsts(&resolver).await })
        })
        .collect();
    let started = Instant::now();
    for waiter in waiting {
        assert_eq!(waiter.await.unwrap(), None);
    }
    assert_eq!(lookups.load(Ordering::Relaxed), 1);
    assert!(started.elapsed() <= LOOKUP + Duration::from_secs(1));
}

/// It was waited for in vain, twice, and holds its thread all the same.
#[tokio::test(start_paused = true)]
async fn a_lookup_that_takes_too_long_is_not_joined_by_another() {
    let (resolver, _, lookups) = resolver(LOOKUP * 5 / 2);
    assert_eq!((firsts(&resolver).await, firsts(&resolver).await), (None, None));
    assert_eq!(lookups.load(Ordering::Relaxed), 1);
    assert_eq!(firsts(&resolver).await, Some(address(1)), "what it finds in the end is used");
    assert_eq!(lookups.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_address_is_not_looked_up() {
    let resolver = Resolver::new(&Host::Address("::1".parse().unwrap()), 81);
    assert_eq!(firsts(&resolver).await, Some("[::1]:81".parse().unwrap()));
}

#[tokio::test]
async fn localhost_has_an_address() {
    let found = firsts(&Resolver::new(&Host::Name("localhost".into()), 82)).await.unwrap();
    assert!(found.ip().is_loopback() && found.port() == 82);
}
