//! Durations as people write them: on a command line, in an environment variable, in a stack's configuration.

use std::time::Duration;

const MILLIS_MAX: u64 = 14 * 86_400_000;

/// Longest duration that is read: 14 days, the longest that a queue keeps a message (SQS).
pub(super) const MAX: Duration = Duration::from_millis(MILLIS_MAX);

/// Reads `200ms`, `30s`, `5m`, `1h`, `2d`: from 1 ms to 14 days.
///
/// # Errors
/// A sentence that says what to write instead.
///
/// ```
/// # use std::time::Duration;
/// assert_eq!(quadrille::setting::parse_duration("5m"), Ok(Duration::from_secs(300)));
/// assert!(quadrille::setting::parse_duration("5").is_err());
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let unit: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err("write a whole number with its unit: 200ms, 30s, 5m, 1h, 2d".to_owned()),
    };
    let millis = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    let whole = millis.filter(|millis| (1..=MILLIS_MAX).contains(millis));
    whole.map(Duration::from_millis).ok_or_else(|| "a duration is 1ms to 14d".to_owned())
}

/// The shortest text that [`parse_duration`] reads as this duration, to the millisecond.
pub(crate) fn write_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    match units.into_iter().find(|(unit, _)| millis > 0 && millis.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", millis / unit),
        None => format!("{millis}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_bounds() {
        assert_eq!(parse_duration("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(parse_duration("1h"), Ok(Duration::from_secs(3_600)));
        for wrong in ["", "5", "s", "-1s", "1.5s", "0s", "400h", "99999999999999999999h"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for text in ["1ms", "1500ms", "30s", "90s", "5m", "1h", "36h", "14d"] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(parse_duration(&write_duration(duration)), Ok(duration));
        }
        assert_eq!(write_duration(Duration::from_secs(172_800)), "2d");
    }
}
