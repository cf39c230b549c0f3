//! From seeds to inputs: one of them with a few things done to it that readers trip over. The same generator gives the
//! same inputs.

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

/// No input is longer.
const LONGEST: usize = 32 * 1024;

/// What means something to one of the readers.
const TOKENS: &[&[u8]] = &[
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"null",
    b"true",
    b"false",
    b"{}",
    b"[]",
    b"\"\"",
    b"\\u0000",
    b"\\ud800",
    b"\\u017f",
    b"\xc5\xbf",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\x00",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b"#",
    b"=",
    b"[[",
    b"]]",
    b"'''",
    b"\"result\":true",
    b"\"allow\":false",
    b"\"deny\":true",
    b"\"input\":",
    b"\"seq\":",
    b"-1",
    b"0",
    b"00",
    b"+1",
    b"1e999",
    b"-0.0",
    b"18446744073709551615",
    b"18446744073709551616",
    b"9007199254740993",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"HTTP/1.0",
    b"CSIGNSEG",
    b"CSIGNCUR",
    b"\n\xe2\x80\x94 x ",
    b"\xf0\x9f\x92\xa5",
];

pub fn mutated(rng: &mut StdRng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut input = seeds.choose(rng).cloned().unwrap_or_default();
    for _ in 0..*[1, 1, 1, 2, 2, 3, 5, 8].choose(rng).unwrap() {
        mutate(&mut input, rng, seeds);
    }
    input.truncate(LONGEST);
    input
}

fn mutate(input: &mut Vec<u8>, rng: &mut StdRng, seeds: &[Vec<u8>]) {
    let at = rng.random_range(0..=input.len());
    let end = at + rng.random_range(0..=input.len() - at).min(1 << rng.random_range(0..12));
    match rng.random_range(0..10) {
        0 | 1 if at < input.len() => input[at] ^= 1 << rng.random_range(0..8),
        2 if at < input.len() => input[at] = *[0, 1, 0x7f, 0x80, 0xff, b'"', b'0', b'\n'].choose(rng).unwrap(),
        3 | 4 => drop(input.splice(at..at, TOKENS.choose(rng).unwrap().iter().copied())),
        5 => drop(input.splice(at..end, TOKENS.choose(rng).unwrap().iter().copied())),
        6 => drop(input.drain(at..end)),
        7 => {
            // A part of it once more, somewhere.
            let part = input[at..end].to_vec();
            let to = rng.random_range(0..=input.len());
            drop(input.splice(to..to, part));
        }
        8 => {
            let other = seeds.choose(rng).unwrap();
            let from = rng.random_range(0..=other.len());
            let to = from + rng.random_range(0..=other.len() - from);
            drop(input.splice(at..end, other[from..to].iter().copied()));
        }
        9 if rng.random_ratio(1, 4) => input.truncate(at),
        _ => {
            if let Some(number) = input.get_mut(at..at + 4) {
                let value: u32 = *[0, 1, 255, 256, 72 * 1024, 72 * 1024 + 1, u32::MAX].choose(rng).unwrap();
                number.copy_from_slice(&value.to_le_bytes());
            }
        }
    }
}
