//! Which connections are used again. One that was odd in any way must not carry another question: what is left on
//! it would be read as that question's answer.

use std::io::{Read as _, Write as _};

use super::*;
use evil::until;

const DENY: &str = r#"{"result":false}"#;

#[tokio::test]
async fn a_clean_connection_serves_many_questions() {
    let server = Evil::saying(allow()).await;
    let webhook = webhook(&server.url());
    for _ in 0..20 {
        assert_eq!(reason(&ask(&webhook, LIMIT).await), Reason::Allowed);
    }
    assert_eq!(server.connections(), 1);
}

/// Response splitting: the surplus would be the next question's allow.
#[tokio::test]
async fn surplus_bytes_are_nobodys_answer() {
    let split = answer("200 OK", "", DENY) + &allow();
    let server = Evil::saying(split).await;
    let webhook = webhook(&server.url());
    for number in 1..=5 {
        assert_eq!(reason(&ask(&webhook, LIMIT).await), Reason::Denied, "judged on the bytes that were announced");
        assert_eq!(server.connections(), number);
    }
}

/// The first connection of each server denies and then, unasked, allows; all others deny.
#[tokio::test]
async fn bytes_on_an_idle_connection_are_nobodys_answer() {
    let said = Arc::new(AtomicUsize::new(0));
    let (go, wait) = tokio::sync::watch::channel(false);
    let count = said.clone();
    let server = Evil::start(move |mut stream, _| {
        let (count, mut wait) = (count.clone(), wait.clone());
        async move {
            question(&mut stream).await;
            stream.write_all(answer("200 OK", "", DENY).as_bytes()).await.unwrap();
            wait.wait_for(|go| *go).await.unwrap();
            stream.write_all(allow().as_bytes()).await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            drop(stream.read(&mut [0; 1]).await);
        }
    })
    .await;
    let webhook = webhook(&server.url());
    assert_eq!(reason(&ask(&webhook, LIMIT).await), Reason::Denied);
    go.send(true).unwrap();
    until("the unasked allow", || said.load(Ordering::SeqCst) == 1).await;
    assert_eq!(reason(&ask(&webhook, LIMIT).await), Reason::Denied);
    assert_eq!(server.connections(), 2);
}

/// The same in the instant before the question: the runtime's thread is busy with us, and has not heard of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn bytes_that_have_just_come_are_nobodys_answer() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (accepted, connections) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            accepted.send(stream.try_clone().unwrap()).unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"{\"input\":{}}") {
                let mut some = [0; 1024];
                let read = stream.read(&mut some).unwrap();
                assert!(read > 0, "the question ended: {asked:?}");
                asked.extend_from_slice(&some[..read]);
            }
            stream.write_all(answer("200 OK", "", DENY).as_bytes()).unwrap();
        }
    });
    let webhook = webhook(&url);
    let asked = tokio::spawn(async move {
        assert_eq!(reason(&ask(&webhook, LIMIT).await), Reason::Denied);
        let mut first = connections.recv().unwrap();
        first.write_all(allow().as_bytes()).unwrap();
        assert_eq!(reason(&ask(&webhook, LIMIT).await), Reason::Denied);
        assert!(connections.recv().is_ok());
    });
    asked.await.unwrap();
}

/// `ends_with` closes every connection at its second question: as a server does whose patience is just over.
async fn stale(ends_with: &'static str) -> (Evil, Webhook) {
    let server = Evil::start(move |mut stream, _| async move {
        question(&mut stream).await;
        stream.write_all(allow().as_bytes()).await.unwrap();
        question(&mut stream).await;
        stream.write_all(ends_with.as_bytes()).await.unwrap();
    })
    .await;
    let webhook = webhook(&server.url());
    assert_eq!(reason(&ask(&webhook, LIMIT).await), Reason::Allowed);
    (server, webhook)
}

#[tokio::test]
async fn a_connection_that_ended_while_idle_is_replaced_at_once() {
    let (server, webhook) = stale("").await;
    assert_eq!(reason(&ask(&webhook, LIMIT).await), Reason::Allowed);
    assert_eq!(server.connections(), 2);
    // Once a byte of the answer was there, it is a loss like any other.
    let (server, webhook) = stale("H").await;
    assert_eq!(reason(&ask(&webhook, LIMIT).await), Reason::ConnectionLost);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_server_that_is_gone_is_not_asked_for_ever() {
    let server = Evil::start(|mut stream, number| async move {
        question(&mut stream).await;
        if number == 1 {
            stream.write_all(allow().as_bytes()).await.unwrap();
            question(&mut stream).await;
        }
    })
    .await;
    let webhook = webhook(&server.url());
    assert_eq!(reason(&ask(&webhook, LIMIT).await), Reason::Allowed);
    assert_eq!(reason(&ask(&webhook, LIMIT).await), Reason::ConnectionLost);
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_question_that_was_given_up_takes_its_connection_along() {
    let server = Evil::start(|mut stream, number| async move {
        question(&mut stream).await;
        if number == 1 {
            // Late: it must not become the answer to the next question.
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            drop(stream.write_all(allow().as_bytes()).await);
        } else {
            stream.write_all(answer("200 OK", "", DENY).as_bytes()).await.unwrap();
        }
        question(&mut stream).await;
    })
    .await;
    let webhook = webhook(&server.url());
    assert_eq!(reason(&ask(&webhook, Duration::from_millis(500)).await), Reason::Timeout);
    assert_eq!(reason(&ask(&webhook, LIMIT).await), Reason::Denied);
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn two_authorizers_at_one_address_share_nothing() {
    let server = Evil::saying(allow()).await;
    let (one, other) = (webhook(&server.url()), webhook(&server.url()));
    for _ in 0..3 {
        assert_eq!(reason(&ask(&one, LIMIT).await), Reason::Allowed);
        assert_eq!(reason(&ask(&other, LIMIT).await), Reason::Allowed);
    }
    assert_eq!(server.connections(), 2);
}

/// Each question carries a number and is answered by its own number's parity.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_never_change_places() {
    let server = Evil::start(|mut stream, _| async move {
        while let Some(asked) = question(&mut stream).await {
            let number: u32 = asked.rsplit(':').next().unwrap().trim_end_matches('}').parse().unwrap();
            let body = if number.is_multiple_of(2) { ALLOW } else { DENY };
            // So late, now and then, that somebody does give up.
            let late = if number.is_multiple_of(35) { 50_000 } else { number % 7 * 300 };
            tokio::time::sleep(Duration::from_micros(late.into())).await;
            if stream.write_all(answer("200 OK", "", body).as_bytes()).await.is_err() {
                break;
            }
        }
    })
    .await;
    let webhook = Arc::new(webhook(&server.url()));
    let tasks: Vec<_> = (0..16_u32)
        .map(|task| {
            let webhook = webhook.clone();
            tokio::spawn(async move {
                let mut given_up = 0;
                for number in (0..50).map(|step| task * 50 + step) {
                    // Some give up early, so that connections are dropped in the middle of an answer.
                    let limit = if number.is_multiple_of(5) { Duration::from_micros(500) } else { LIMIT };
                    let expected = if number.is_multiple_of(2) { Reason::Allowed } else { Reason::Denied };
                    let bytes = format!("{{\"n\":{number}}}");
                    let got = reason(&ask_about(&webhook, bytes.as_bytes(), limit).await);
                    let gave_up =
                        number.is_multiple_of(5) && matches!(got, Reason::Timeout | Reason::Connect | Reason::Dns);
                    assert!(got == expected || gave_up, "{number}: {got:?}");
                    given_up += usize::from(got == Reason::Timeout);
                }
                given_up
            })
        })
        .collect();
    let mut given_up = 0;
    for task in tasks {
        given_up += task.await.unwrap();
    }
    assert!(given_up > 0, "nobody gave up while the answer was on its way");
}
