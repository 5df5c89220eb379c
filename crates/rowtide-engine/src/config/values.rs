//! How durations and sizes are written: `"1m 30s"`, `"64MiB"`.

use std::time::Duration;

/// Reads `"500ms"`, `"10s"`, `"1m 30s"`, `"2h"`.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const EXPECTED: &str = "expected a duration such as \"500ms\", \"10s\" or \"1m 30s\"";
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(EXPECTED.into());
    }
    while !rest.is_empty() {
        let (number, tail) = split_number(rest);
        let unit_end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let unit = match unit {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" | "min" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            "d" => Duration::from_secs(86400),
            _ => return Err(EXPECTED.into()),
        };
        let piece = times(number, unit).ok_or(EXPECTED)?;
        total = total.checked_add(piece).ok_or(EXPECTED)?;
        rest = tail.trim_start();
    }
    Ok(total)
}

/// So many times a unit: exactly if it is a whole number.
fn times(number: &str, unit: Duration) -> Option<Duration> {
    match number.parse::<u64>() {
        Ok(whole) if unit < Duration::from_secs(1) => Some(Duration::from_millis(whole)),
        Ok(whole) => whole.checked_mul(unit.as_secs()).map(Duration::from_secs),
        Err(_) => {
            let number: f64 = number.parse().ok()?;
            Duration::try_from_secs_f64(number * unit.as_secs_f64()).ok()
        }
    }
}

/// Writes a duration as [`parse_duration`] reads it.
pub fn format_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        0 => "0s".into(),
        _ if millis.is_multiple_of(3_600_000) => format!("{}h", millis / 3_600_000),
        _ if millis.is_multiple_of(60_000) => format!("{}m", millis / 60_000),
        _ if millis.is_multiple_of(1000) => format!("{}s", millis / 1000),
        _ => format!("{millis}ms"),
    }
}

/// Reads `"512"`, `"64KiB"`, `"64MiB"`, `"1.5GiB"`, `"1GB"`.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_size(text: &str) -> Result<u64, String> {
    const EXPECTED: &str = "expected a size such as \"64MiB\" or \"1GiB\"";
    let (number, unit) = split_number(text.trim());
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        _ => return Err(EXPECTED.into()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).ok_or_else(|| EXPECTED.into());
    }
    let number: f64 = number.parse().map_err(|_| EXPECTED)?;
    #[expect(clippy::cast_precision_loss, reason = "units are powers, and exact")]
    let bytes = number * factor as f64;
    if !(0.0..9.0e18).contains(&bytes) {
        return Err(EXPECTED.into());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was checked; a fraction of a byte does not matter"
    )]
    Ok(bytes as u64)
}

/// Writes a size as [`parse_size`] reads it, without loss.
pub fn format_size(bytes: u64) -> String {
    for (unit, shift) in [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes > 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}B")
}

fn split_number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_written() {
        for (text, millis) in [
            ("10s", 10_000),
            ("500ms", 500),
            ("1m 30s", 90_000),
            ("1m30s", 90_000),
            ("0.5s", 500),
            ("2h", 7_200_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)));
        }
        for text in ["", "10", "s", "-1s", "10 parsecs", "1e99d", "9999999999999999999999d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_read_as_written() {
        for (text, bytes) in [
            ("512", 512),
            ("64MiB", 64 << 20),
            ("1.5 GiB", 3 << 29),
            ("2GB", 2_000_000_000),
            ("8k", 8192),
        ] {
            assert_eq!(parse_size(text), Ok(bytes));
        }
        for text in ["", "MiB", "-1MiB", "1 mile", "99999999TiB", "1.2.3"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for bytes in [0, 1, 1023, 1024, 16 << 20, 4 << 30, (1 << 20) + 1] {
            assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }
        for millis in [0, 1, 200, 1000, 30_000, 61_000, 3_600_000, 4_294_982_242, u64::MAX] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
    }
}
