//! Frames that are no part of a question, beside questions: more than anybody needs, and as many as honest peers send.

use super::super::frames::*;
use super::{Ends, Row, Stage, instead, row};

/// Refused at once, without a body: what it costs is not what is tried here.
fn refused(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&instead(":method", "GET")))
}

/// What a client without any doubt may send beside a question that it takes back, at the worst: priorities, as they once were
/// sent, two windows, the reset, and the PING that Go sends along.
fn at_the_worst(stream: u32) -> Vec<u8> {
    let window = |stream| frame(WINDOW_UPDATE, 0, stream, &15u32.to_be_bytes());
    let priority = |stream| frame(PRIORITY, 0, stream, &[0, 0, 0, 0, 16]);
    let reset = frame(RST_STREAM, 0, stream, &8u32.to_be_bytes());
    let ping = frame(PING, 0, 0, &[7; 8]);
    [priority(stream), refused(stream), priority(stream), window(stream), window(0), reset, ping].concat()
}

/// Questions, so few that none is a stream too many, and between them what is none.
fn among_questions(what: &'static str, none: &[u8]) -> Row {
    let questions = (0..40).flat_map(|n| [refused(2 * n + 1), none.repeat(300)].concat());
    row(what, Ends::Calmed, questions.collect::<Vec<u8>>())
}

pub fn floods() -> Vec<Row> {
    let one = |kind, payload: &[u8]| frame(kind, 0, 0, payload);
    vec![
        among_questions("PING among questions", &one(PING, &[7; 8])),
        among_questions("SETTINGS among questions", &setting(3, 100)),
        among_questions("PRIORITY among questions", &frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16])),
        among_questions("windows among questions", &one(WINDOW_UPDATE, &1u32.to_be_bytes())),
        among_questions("frames that nobody knows among questions", &one(0xee, &[7; 8])),
        among_questions("one reset again and again", &frame(RST_STREAM, 0, 1, &8u32.to_be_bytes())),
    ]
}

/// The control: several times as much as the floods are, over a connection on which as much is asked. Answers, and the connection
/// goes on.
pub async fn honest(stage: &mut Stage) {
    let mut raw = Raw::open(&stage.house, &stage.proxy).await;
    let mut sent = [beginning(), frame(WINDOW_UPDATE, 0, 0, &(1u32 << 30).to_be_bytes())].concat();
    let mut others = 0;
    for stream in (1..10_000).step_by(2) {
        let worst = at_the_worst(stream);
        others += 6;
        sent.extend(worst);
        // The PING is answered behind whatever came before it, so that no two are under way.
        let before = raw.heard.pongs;
        if !raw.exchange(&sent, |heard| heard.pongs > before).await || raw.heard.closed {
            let told = &raw.heard.told_to_go;
            return stage.found.complain("H22", format!("an honest peer is closed after {others} frames: {told:?}"));
        }
        sent.clear();
    }
    if !raw.heard.told_to_go.is_empty() {
        stage.found.complain("H22", "an honest peer is told to go");
    }
}
