//! Properties of the head of an authorizer's answer, for every sequence of bytes: a body for property tests and for a
//! fuzzer, which panics where a property is broken. Not part of the proxy's work; called by tests only.

use crate::authorizer::exchange::head::{self, Framing};
use crate::policy::verdict::Reason;

/// A head is the same however much follows it, and is not there before its last byte is. Where we see its end, so does
/// everybody: one length, or one coding, or neither.
pub fn head(data: &[u8]) {
    match head::parse(data) {
        Ok(Some((head, length))) => {
            let only = data.get(..length).unwrap_or_default();
            assert!(only.ends_with(b"\n"), "a head ends with a line");
            assert_eq!(head::parse(only), Ok(Some((head.clone(), length))), "what follows changed it");
            for shorter in [length - 1, length / 2] {
                let cut = head::parse(data.get(..shorter).unwrap_or_default());
                assert!(!matches!(cut, Ok(Some(_))), "a part of it passes for it");
            }
            assert!((100..=599).contains(&head.status));
            let names = |name: &[u8]| lines(only).filter(|line| is_field(line, name)).count();
            let (lengths, codings) = (names(b"content-length"), names(b"transfer-encoding"));
            match head.framing {
                Framing::Length(_) => assert_eq!((lengths, codings), (1, 0)),
                Framing::Chunked => assert_eq!((lengths, codings), (0, 1)),
                Framing::UntilClose => assert_eq!((lengths, codings), (0, 0)),
            }
        }
        Ok(None) => {}
        Err(reason) => assert!(matches!(reason, Reason::MalformedAnswer | Reason::ContentEncoding), "{reason:?}"),
    }
}

fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    head.split(|byte| *byte == b'\n')
}

fn is_field(line: &[u8], name: &[u8]) -> bool {
    line.split_at_checked(name.len())
        .is_some_and(|(start, rest)| start.eq_ignore_ascii_case(name) && rest.first() == Some(&b':'))
}
