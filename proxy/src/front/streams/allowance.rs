//! How many frames a connection with HTTP/2 may send that are no part of a question. h2 answers or passes over PING,
//! SETTINGS, PRIORITY, WINDOW_UPDATE, what it does not know and resets of what is long over, as many as come: each costs
//! little, and a flood of them a processor. Reads the beginning of each frame and nothing else; what frames mean is h2's.
//! Called by `metered`.

use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

/// What a new connection has, and the most that can be saved up. It begins with two or three, and browsers, which are no
/// peers of ours, with ten.
const MOST: u32 = 1000;
/// More for each question. Go resets one that is taken back and sends a PING along; an answer is worth two window updates;
/// priorities, where somebody still sends them, are one or two.
const EACH_QUESTION: u32 = 16;
/// More for each second, asked or not. Signs of life come every few seconds where they come at all, and what measures a
/// round trip has one PING under way.
const EACH_SECOND: u32 = 10;

/// "PRI * HTTP/2.0…": RFC 9113, section 3.4.
const PREFACE: usize = 24;
/// Length, type, flags and stream: RFC 9113, section 4.1.
const HEAD: usize = 9;
// RFC 9113, section 6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;

/// What one connection has left.
#[derive(Debug)]
pub struct Allowance {
    left: u32,
    /// Until when the seconds are paid out.
    since: Instant,
    frames: Frames,
}

impl Allowance {
    /// Of a connection that has not sent anything.
    pub fn new(now: Instant) -> Self {
        Self { left: MOST, since: now, frames: Frames { passed_over: PREFACE, head: SmallVec::new() } }
    }

    /// Takes what the peer has sent next. False where that was too much.
    pub fn bears(&mut self, sent: &[u8], now: Instant) -> bool {
        let seconds = now.saturating_duration_since(self.since).as_secs();
        self.since += Duration::from_secs(seconds);
        self.gain(u32::try_from(seconds).unwrap_or(u32::MAX).saturating_mul(EACH_SECOND));
        let (mut rest, mut bearable) = (sent, true);
        while let Some(part) = self.frames.next(&mut rest) {
            match part {
                Part::Head => self.gain(EACH_QUESTION),
                Part::More => {}
                Part::None => match self.left.checked_sub(1) {
                    Some(left) => self.left = left,
                    None => bearable = false,
                },
            }
        }
        bearable
    }

    fn gain(&mut self, more: u32) {
        self.left = self.left.saturating_add(more).min(MOST);
    }
}

/// What a frame is of a question.
enum Part {
    Head,
    /// The rest of its head, and its body. What there may be of it is limited elsewhere: h2 has a limit for CONTINUATION, the
    /// front one for a body.
    More,
    None,
}

/// Where frames begin in what comes in pieces of any size.
#[derive(Debug)]
struct Frames {
    /// Bytes until the next one.
    passed_over: usize,
    /// As much of its head as has come.
    head: SmallVec<[u8; HEAD]>,
}

impl Frames {
    /// What the next frame is that begins in `bytes`, of which that much is taken.
    fn next(&mut self, bytes: &mut &[u8]) -> Option<Part> {
        take(bytes, &mut self.passed_over);
        let mut missing = HEAD - self.head.len();
        self.head.extend_from_slice(take(bytes, &mut missing));
        let &[a, b, c, kind, flags, ..] = self.head.as_slice() else { return None };
        if missing > 0 {
            return None;
        }
        self.head.clear();
        let length = u32::from_be_bytes([0, a, b, c]);
        self.passed_over = usize::try_from(length).unwrap_or(usize::MAX);
        Some(match kind {
            HEADERS => Part::Head,
            CONTINUATION => Part::More,
            // An empty one may end a body, and does nothing else.
            DATA if length > 0 || flags & END_STREAM != 0 => Part::More,
            _ => Part::None,
        })
    }
}

/// So many bytes from the front, or all there are; `wanted` is what is then still missing.
fn take<'a>(bytes: &mut &'a [u8], wanted: &mut usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(bytes.len().min(*wanted));
    *bytes = rest;
    *wanted -= taken.len();
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    const RST_STREAM: u8 = 3;
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const WINDOW_UPDATE: u8 = 8;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let [.., a, b, c] = length.to_be_bytes();
        // Payloads that look like heads of PING.
        [&[a, b, c, kind, flags, 0, 0, 0, 1][..], &[PING; 20_000][..length]].concat()
    }

    fn begun(now: Instant) -> Allowance {
        let mut allowance = Allowance::new(now);
        assert!(allowance.bears(&[PING; PREFACE], now));
        allowance
    }

    #[test]
    fn frames_are_found_wherever_they_are_cut() {
        let sent = [
            vec![PING; PREFACE],
            frame(SETTINGS, 0, 6),
            frame(HEADERS, 4, 300),
            frame(CONTINUATION, 4, 0),
            frame(DATA, 0, 16_384),
            frame(DATA, 0, 0),
            frame(DATA, END_STREAM, 0),
            frame(PING, 0, 8),
        ]
        .concat();
        let now = Instant::now();
        for piece in (1..40).chain([300, 5000, sent.len()]) {
            let mut allowance = Allowance { left: 100, ..Allowance::new(now) };
            assert!(sent.chunks(piece).all(|piece| allowance.bears(piece, now)));
            assert_eq!(allowance.left, 100 - 1 + EACH_QUESTION - 1 - 1, "in pieces of {piece}");
        }
    }

    #[test]
    fn a_flood_is_not_borne_however_it_is_made() {
        let now = Instant::now();
        for flood in [frame(PING, 0, 8), frame(0xee, 0, 100), frame(RST_STREAM, 0, 4), frame(DATA, 0, 0)] {
            let mut allowance = begun(now);
            assert!(allowance.bears(&flood.repeat(MOST as usize), now));
            assert!(!allowance.bears(&flood, now));
            // A question among every hundred does not make up for them.
            let mut allowance = begun(now);
            let among = [frame(HEADERS, 4, 50), flood.repeat(100)].concat();
            assert!((0..20).any(|_| !allowance.bears(&among, now)));
        }
    }

    /// As bad as an honest peer can be, and for long.
    #[test]
    fn honest_peers_are_borne() {
        let start = Instant::now();
        // Every question taken back, with all that may come along with one.
        let taken_back = [
            frame(HEADERS, 5, 200),
            frame(WINDOW_UPDATE, 0, 4).repeat(2),
            frame(2, 0, 5).repeat(2),
            frame(DATA, 0, 0),
            frame(RST_STREAM, 0, 4),
            frame(PING, 0, 8),
            frame(PING, 1, 8),
        ]
        .concat();
        let mut allowance = begun(start);
        assert!((0..100_000).all(|_| allowance.bears(&taken_back, start)));
        // A day on which nothing is asked, and a PING each second.
        let mut allowance = begun(start);
        let ping = frame(PING, 0, 8);
        assert!((0..86_400).all(|second| allowance.bears(&ping, start + Duration::from_secs(second))));
        // The same as it comes to a process that was halted meanwhile, for a quarter of an hour.
        assert!(allowance.bears(&ping.repeat(900), start + Duration::from_secs(86_400)));
    }

    #[test]
    fn what_is_saved_up_is_bounded_and_time_gives_it_back() {
        let start = Instant::now();
        let mut allowance = begun(start);
        assert!(allowance.bears(&frame(HEADERS, 5, 10).repeat(1000), start + Duration::from_secs(1 << 40)));
        assert_eq!(allowance.left, MOST);
        let start = start + Duration::from_secs(1 << 40);
        assert!(allowance.bears(&frame(PING, 0, 8).repeat(MOST as usize), start));
        // Parts of a second add up, and are counted once.
        assert!((1..=20).all(|tenth| allowance.bears(&[], start + Duration::from_millis(100 * tenth))));
        assert_eq!(allowance.left, 2 * EACH_SECOND);
    }
}
