//! Durations and sizes as an operator writes them: a whole number and its unit, `"5s"`, `"256KiB"`.

use std::{fmt, time::Duration};

use crate::policy::Malformed;

/// Reads a duration.
pub(super) fn parse_duration(text: &str) -> Result<Duration, Malformed> {
    let millis = in_units(text, &DURATIONS).ok_or_else(|| {
        Malformed::new(
            "is not a duration",
            "write a whole number and ms, s, min or h, such as \"5s\"",
        )
    })?;
    Ok(Duration::from_millis(millis))
}

/// Reads a size in bytes.
pub(super) fn parse_size(text: &str) -> Result<u64, Malformed> {
    in_units(text, &SIZES).ok_or_else(|| {
        Malformed::new(
            "is not a size",
            "write a whole number and B, KiB, MiB or GiB, such as \"256KiB\"",
        )
    })
}

/// Reads whole percents.
pub(super) fn parse_percent(text: &str) -> Option<u64> {
    in_units(text, &[("%", 1)])
}

/// Prints a duration as [`parse_duration`] reads it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ShowDuration(pub(super) Duration);

impl fmt::Display for ShowDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_in_units(f, self.0.as_millis(), &DURATIONS, "s")
    }
}

/// Prints a size as [`parse_size`] reads it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ShowSize(pub(super) u64);

impl fmt::Display for ShowSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_in_units(f, self.0.into(), &SIZES, "B")
    }
}

fn in_units(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// Writes in the largest unit that divides the value.
fn write_in_units(
    f: &mut fmt::Formatter<'_>,
    value: u128,
    units: &[(&str, u64)],
    unit_of_zero: &str,
) -> fmt::Result {
    if value == 0 {
        return write!(f, "0{unit_of_zero}");
    }
    let fits = |&&(_, factor): &&(&str, u64)| value.is_multiple_of(factor.into());
    let (name, factor) = units.iter().rfind(fits).unwrap_or(&units[0]);
    write!(f, "{}{name}", value / u128::from(*factor))
}

/// In milliseconds, rising.
const DURATIONS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("min", 60_000), ("h", 3_600_000)];
/// In bytes, rising. Only the binary units: "KB" means two things.
const SIZES: [(&str, u64); 4] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations() {
        let cases = [
            ("0s", 0),
            ("100ms", 100),
            ("5s", 5000),
            ("15min", 900_000),
            ("2h", 7_200_000),
        ];
        for (text, millis) in cases {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(millis)),
                "{text}"
            );
        }
        for text in [
            "",
            "5",
            "s",
            "5 s",
            "-5s",
            "+5s",
            "1.5s",
            "5S",
            "5sec",
            "1m",
            "1min30s",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        let cases = [
            ("0B", 0),
            ("512B", 512),
            ("64KiB", 65_536),
            ("4MiB", 4_194_304),
            ("2GiB", 2_147_483_648),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "5",
            "5KB",
            "5kib",
            "5K",
            "KiB",
            "1.5MiB",
            "18446744073709551615GiB",
            "25%",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert_eq!(parse_percent("25%"), Some(25));
        assert_eq!(parse_percent("25"), None);
    }

    proptest! {
        #[test]
        fn what_is_printed_can_be_read(millis in 0..u64::MAX / 2, bytes: u64) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&ShowDuration(duration).to_string()), Ok(duration));
            prop_assert_eq!(parse_size(&ShowSize(bytes).to_string()), Ok(bytes));
        }
    }
}
