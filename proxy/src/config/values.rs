//! Single values of the configuration: durations, sizes, numbers, words, out of TOML and within their bounds. Knows
//! neither keys nor places. Called by `written`.

use std::net::SocketAddr;
use std::time::Duration;

use bytesize::ByteSize;
use toml::de::DeValue;

use super::keys::Takes;

/// Why a value is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// Not this kind of value at all.
    Type,
    /// The right kind, out of bounds.
    Range,
    /// None of the words.
    Word(String),
}

/// What can be read from one TOML value.
pub trait FromToml: Sized {
    fn from_toml(value: &DeValue<'_>, takes: &Takes) -> Result<Self, Wrong>;
}

impl FromToml for bool {
    fn from_toml(value: &DeValue<'_>, _: &Takes) -> Result<Self, Wrong> {
        value.as_bool().ok_or(Wrong::Type)
    }
}

impl FromToml for String {
    fn from_toml(value: &DeValue<'_>, takes: &Takes) -> Result<Self, Wrong> {
        let text = value.as_str().ok_or(Wrong::Type)?;
        match takes {
            Takes::Word(words) | Takes::Words(words) if !words.contains(&text) => Err(Wrong::Word(text.to_owned())),
            _ => Ok(text.to_owned()),
        }
    }
}

/// Counts and sizes.
impl FromToml for u64 {
    fn from_toml(value: &DeValue<'_>, takes: &Takes) -> Result<Self, Wrong> {
        match takes {
            Takes::Size(least, most) => within(read_size(value.as_str().ok_or(Wrong::Type)?)?, least, most),
            Takes::Count(least, most) => {
                let written = value.as_integer().ok_or(Wrong::Type)?;
                let number = i128::from_str_radix(written.as_str(), written.radix()).map_err(|_| Wrong::Range)?;
                within(Self::try_from(number).map_err(|_| Wrong::Range)?, least, most)
            }
            _ => Err(Wrong::Type),
        }
    }
}

impl FromToml for u32 {
    fn from_toml(value: &DeValue<'_>, takes: &Takes) -> Result<Self, Wrong> {
        Self::try_from(u64::from_toml(value, takes)?).map_err(|_| Wrong::Range)
    }
}

impl FromToml for usize {
    fn from_toml(value: &DeValue<'_>, takes: &Takes) -> Result<Self, Wrong> {
        Self::try_from(u64::from_toml(value, takes)?).map_err(|_| Wrong::Range)
    }
}

/// A share: `0.5`, but `0` and `1` too.
impl FromToml for f64 {
    fn from_toml(value: &DeValue<'_>, _: &Takes) -> Result<Self, Wrong> {
        let share: Self = match (value.as_float(), value.as_integer()) {
            (Some(float), _) => float.as_str().parse().map_err(|_| Wrong::Type)?,
            (None, Some(integer)) => integer.as_str().parse().map_err(|_| Wrong::Range)?,
            (None, None) => return Err(Wrong::Type),
        };
        if (0.0..=1.0).contains(&share) { Ok(share) } else { Err(Wrong::Range) }
    }
}

impl FromToml for Duration {
    fn from_toml(value: &DeValue<'_>, takes: &Takes) -> Result<Self, Wrong> {
        let Takes::Time(least, most) = takes else { return Err(Wrong::Type) };
        let text = value.as_str().ok_or(Wrong::Type)?;
        // humantime takes a bare `0`; a duration without a unit is a mistake here, whatever its number.
        if !text.ends_with(|last: char| last.is_ascii_alphabetic()) {
            return Err(Wrong::Type);
        }
        within(humantime::parse_duration(text).map_err(|_| Wrong::Type)?, least, most)
    }
}

impl FromToml for SocketAddr {
    fn from_toml(value: &DeValue<'_>, _: &Takes) -> Result<Self, Wrong> {
        value.as_str().and_then(|text| text.parse().ok()).ok_or(Wrong::Type)
    }
}

/// `1MiB`: the way it is written in the configuration.
pub fn size(bytes: u64) -> String {
    const UNITS: [(&str, u32); 5] = [("PiB", 50), ("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let exact = UNITS.iter().find(|(_, bits)| bytes > 0 && bytes.is_multiple_of(1 << bits));
    exact.map_or_else(|| format!("{bytes}B"), |(unit, bits)| format!("{}{unit}", bytes >> bits))
}

fn read_size(text: &str) -> Result<u64, Wrong> {
    if !text.ends_with(|last: char| last.is_ascii_alphabetic()) {
        return Err(Wrong::Type);
    }
    text.parse::<ByteSize>().map(|size| size.as_u64()).map_err(|_| Wrong::Type)
}

fn within<T: PartialOrd>(value: T, least: &T, most: &T) -> Result<T, Wrong> {
    if value < *least || value > *most { Err(Wrong::Range) } else { Ok(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: FromToml>(text: &str, takes: &Takes) -> Result<T, Wrong> {
        T::from_toml(DeValue::parse(text).unwrap().get_ref(), takes)
    }

    #[test]
    fn durations_need_a_unit_and_keep_their_bounds() {
        let takes = Takes::Time(Duration::from_millis(500), Duration::from_secs(60));
        assert_eq!(read("\"2s\"", &takes), Ok(Duration::from_secs(2)));
        assert_eq!(read("\"1m\"", &takes), Ok(Duration::from_secs(60)));
        assert_eq!(read::<Duration>("\"499ms\"", &takes), Err(Wrong::Range));
        assert_eq!(read::<Duration>("\"61s\"", &takes), Err(Wrong::Range));
        for wrong in ["2", "\"2\"", "\"0\"", "\"-2s\"", "\"two s\"", "\"\"", "\"99999999999999999999s\""] {
            assert_eq!(read::<Duration>(wrong, &takes), Err(Wrong::Type), "{wrong}");
        }
    }

    #[test]
    fn sizes_need_a_unit() {
        let takes = Takes::Size(1024, 1 << 30);
        assert_eq!(read("\"1MiB\"", &takes), Ok(1_u64 << 20));
        assert_eq!(read("\"1.5 KiB\"", &takes), Ok(1536_u64));
        assert_eq!(read("\"1MB\"", &takes), Ok(1_000_000_u64));
        assert_eq!(read::<u64>("\"2GiB\"", &takes), Err(Wrong::Range));
        for wrong in ["1048576", "\"1048576\"", "\"1 Mäh\"", "\"MiB\"", "\"\""] {
            assert_eq!(read::<u64>(wrong, &takes), Err(Wrong::Type), "{wrong}");
        }
        assert_eq!([size(20 << 30), size(4096), size(1), size(0)], ["20GiB", "4KiB", "1B", "0B"]);
    }

    #[test]
    fn numbers_keep_their_bounds() {
        let takes = Takes::Count(1, 10);
        assert_eq!(read("0x0a", &takes), Ok(10_u64));
        assert_eq!(read::<u64>("0", &takes), Err(Wrong::Range));
        assert_eq!(read::<u64>("-1", &takes), Err(Wrong::Range));
        assert_eq!(read::<u64>("1.0", &takes), Err(Wrong::Type));
        assert_eq!(read("1", &Takes::Share), Ok(1.0));
        for outside in ["1.1", "-0.1", "nan", "inf", "2"] {
            assert_eq!(read::<f64>(outside, &Takes::Share), Err(Wrong::Range), "{outside}");
        }
    }
}
