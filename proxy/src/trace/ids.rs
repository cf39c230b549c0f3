//! Trace and span ids, the W3C `traceparent` that carries them, and the ratio that samples by them.
//! Pure but for the random numbers. Called by `trace`.

use rand::Rng;

/// Where a client's own span stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    pub trace_id: u128,
    pub span_id: u64,
}

/// Not zero: zero is W3C's word for "none".
pub fn new_trace_id() -> u128 {
    rand::rng().random::<u128>().max(1)
}

/// Not zero, like a trace id.
pub fn new_span_id() -> u64 {
    rand::rng().random::<u64>().max(1)
}

/// W3C Trace Context, section 3.2: `version-trace_id-parent_id-flags`, lower-case hex only. Version 00 has exactly 55
/// bytes; a later one may go on after a further dash; ff is none. The flags must be hex, and are not used: whether
/// we sample is ours to say, or any client could make us export everything.
pub fn parse_traceparent(header: &[u8]) -> Option<Parent> {
    let version = hex(header, 0, 2)?;
    let trace_id = hex(header, 3, 32)?;
    let span_id = u64::try_from(hex(header, 36, 16)?).ok()?;
    hex(header, 53, 2)?;
    let dashes = [2, 35, 52].iter().all(|at| header.get(*at) == Some(&b'-'));
    let end_is_right = match version {
        0x00 => header.len() == 55,
        0xff => false,
        _ => matches!(header.get(55), None | Some(b'-')),
    };
    (dashes && end_is_right && trace_id != 0 && span_id != 0).then_some(Parent { trace_id, span_id })
}

fn hex(header: &[u8], start: usize, digits: usize) -> Option<u128> {
    let text = header.get(start..start.checked_add(digits)?)?;
    text.iter().try_fold(0_u128, |value, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    })
}

/// A share of all traces, chosen by the low 56 bits of the trace id (the random ones of W3C Trace Context level 2),
/// so that everybody with the same share chooses the same traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ratio {
    /// Ids below it are in.
    threshold: u64,
}

impl Ratio {
    pub const NEVER: Self = Self { threshold: 0 };
    const RANDOM_BITS: u64 = 1 << 56;

    /// `share` is between 0 and 1; what is outside counts as the nearer end, and not-a-number as 0.
    pub fn new(share: f64) -> Self {
        let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
        // 2^56 is exact in a double, and so is the way back.
        let bits = Self::RANDOM_BITS as f64;
        Self { threshold: (share * bits) as u64 }
    }

    pub fn takes(self, trace_id: u128) -> bool {
        let random = trace_id & u128::from(Self::RANDOM_BITS - 1);
        random < u128::from(self.threshold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn parse(header: &str) -> Option<Parent> {
        parse_traceparent(header.as_bytes())
    }

    #[test]
    fn a_valid_header_names_its_parent() {
        let parent = parse(GOOD).unwrap();
        assert_eq!(parent.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(parent.span_id, 0x00f0_67aa_0ba9_02b7);
    }

    #[test]
    fn a_later_version_may_go_on_after_a_dash_only() {
        assert!(parse(&GOOD.replacen("00", "cc", 1)).is_some());
        assert!(parse(&(GOOD.replacen("00", "cc", 1) + "-what-comes-later")).is_some());
        assert!(parse(&(GOOD.replacen("00", "cc", 1) + ".what")).is_none());
    }

    #[test]
    fn everything_else_is_no_parent() {
        let zero_trace = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        let zero_span = "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01";
        let cases = [
            String::new(),
            zero_trace.into(),
            zero_span.into(),
            GOOD.to_uppercase(),
            GOOD.replacen("00", "ff", 1),
            format!("{GOOD}-more"),
            format!("{GOOD} "),
            format!(" {GOOD}"),
            GOOD.replace('-', "_"),
            GOOD[..54].into(),
            GOOD.replace("-01", "-0x"),
            GOOD.replace("-01", "-é"),
            "0".repeat(9000),
        ];
        for case in cases {
            assert_eq!(parse(&case), None, "{case:.60}");
        }
    }

    #[test]
    fn the_ratio_has_ends_and_a_middle() {
        let ids: Vec<u128> = (0..20_000).map(|_| new_trace_id()).collect();
        let taken = |share| ids.iter().filter(|id| Ratio::new(share).takes(**id)).count();
        assert_eq!(taken(0.0), 0);
        assert_eq!(taken(-1.0) + taken(f64::NAN), 0);
        assert_eq!(taken(1.0), ids.len());
        assert_eq!(taken(2.0), ids.len());
        assert!((1_600..2_400).contains(&taken(0.1)), "{}", taken(0.1));
    }

    #[test]
    fn only_the_low_56_bits_are_looked_at() {
        let half = Ratio::new(0.5);
        assert!(half.takes(u128::MAX << 56));
        assert!(!half.takes((1 << 56) - 1));
    }
}
