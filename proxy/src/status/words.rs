//! Numbers as people read them. Pure; used by `page`.

/// Three figures at most, thousands set apart.
pub(super) fn number(value: f64) -> String {
    if value > 0.0 && value < 9.95 && (value - value.round()).abs() > 0.04 {
        return format!("{value:.1}");
    }
    grouped(value)
}

/// Whole, thousands set apart by a thin space.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |rest| ("\u{2212}", rest));
    let mut text = sign.to_owned();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// `None` is a dash.
pub(super) fn percent(share: Option<f64>) -> String {
    match share.map(|share| share * 100.0) {
        None => "–".to_owned(),
        Some(share) if share > 0.0 && share < 0.1 => "< 0.1 %".to_owned(),
        Some(share) if share > 0.0 && share < 9.95 => format!("{share:.1} %"),
        Some(share) => format!("{share:.0} %"),
    }
}

/// Of a decision or an attempt: from microseconds to seconds.
pub(super) fn latency(seconds: Option<f64>) -> String {
    match seconds {
        None => "–".to_owned(),
        Some(s) if s < 0.001 => format!("{:.0} µs", s * 1e6),
        Some(s) if s < 0.01 => format!("{:.1} ms", s * 1e3),
        Some(s) if s < 1.0 => format!("{:.0} ms", s * 1e3),
        Some(s) => format!("{s:.1} s"),
    }
}

/// Of an age: the two largest units at most.
pub(super) fn age(seconds: f64) -> String {
    let whole = seconds.max(0.0);
    match whole {
        s if s < 60.0 => format!("{s:.0} s"),
        s if s < 600.0 => format!("{:.0} min {:.0} s", (s / 60.0).floor(), s % 60.0),
        s if s < 3600.0 => format!("{:.0} min", (s / 60.0).floor()),
        s if s < 86_400.0 => format!("{:.0} h {:.0} min", (s / 3600.0).floor(), (s % 3600.0 / 60.0).floor()),
        s => format!("{:.0} d {:.0} h", (s / 86_400.0).floor(), (s % 86_400.0 / 3600.0).floor()),
    }
}

/// Hours that may be many.
pub(super) fn hours(hours: f64) -> String {
    if hours > 24.0 * 365.0 { "more than a year".to_owned() } else { age(hours * 3600.0) }
}

pub(super) fn bytes(value: f64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut scaled = value.max(0.0);
    let mut unit = "bytes";
    for next in units {
        unit = next;
        if scaled < 1024.0 {
            break;
        }
        if next != "TiB" {
            scaled /= 1024.0;
        }
    }
    if unit == "bytes" { format!("{scaled:.0} {unit}") } else { format!("{} {unit}", number(scaled)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (value, text) in [(0.0, "0"), (0.25, "0.2"), (1.0, "1"), (9.9, "9.9"), (12.6, "13"), (-3.0, "\u{2212}3")] {
            assert_eq!(number(value), text);
        }
        assert_eq!(number(1_234_567.0), "1\u{202f}234\u{202f}567");
        assert_eq!(
            (bytes(0.0), bytes(2048.0), bytes(1.5 * 1024.0 * 1024.0)),
            ("0 bytes".into(), "2 KiB".into(), "1.5 MiB".into())
        );
        assert_eq!(bytes(5e15), "4\u{202f}547 TiB");
    }

    #[test]
    fn shares_and_times() {
        assert_eq!(
            [None, Some(0.0), Some(0.0002), Some(0.042), Some(0.5)].map(percent),
            ["–", "0 %", "< 0.1 %", "4.2 %", "50 %"]
        );
        assert_eq!(
            [None, Some(0.00006), Some(0.0012), Some(0.25), Some(2.0)].map(latency),
            ["–", "60 µs", "1.2 ms", "250 ms", "2.0 s"]
        );
        assert_eq!(
            [5.0, 65.0, 700.0, 3700.0, 90_000.0].map(age),
            ["5 s", "1 min 5 s", "11 min", "1 h 1 min", "1 d 1 h"]
        );
        assert_eq!((hours(4.25).as_str(), hours(1e6).as_str()), ("4 h 15 min", "more than a year"));
    }
}
