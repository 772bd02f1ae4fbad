//! A point in time, as events and entities carry it.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use std::{fmt, time::Duration};

/// Milliseconds since 1970-01-01T00:00:00Z. Written as RFC 3339 in UTC (`2026-11-20T09:15:00.000Z`), always with
/// three digits of a second, so that texts sort as times do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// A text that is no RFC 3339 time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time")]
pub struct TimestampError;

impl Timestamp {
    /// The last millisecond of the year 9999, the latest that RFC 3339 can write.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// From milliseconds since the epoch; negative ones become the epoch, those past [`MAX`](Self::MAX) become it.
    pub const fn from_millis(millis: i64) -> Self {
        if millis < 0 {
            Self(0)
        } else if millis > Self::MAX.0 {
            Self::MAX
        } else {
            Self(millis)
        }
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down (the unit of a DynamoDB TTL attribute).
    pub const fn as_secs(self) -> i64 {
        self.0 / 1000
    }

    /// The time from `earlier` to `self`, or zero where `earlier` is not before it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads an RFC 3339 time with any offset. Of a fraction of a second its first three digits count; a time before the
    /// epoch becomes the epoch, and a leap second the second after it.
    ///
    /// # Errors
    /// [`TimestampError`] for anything else.
    pub fn parse(text: &str) -> Result<Self, TimestampError> {
        Self::read(text.as_bytes()).ok_or(TimestampError)
    }

    fn read(text: &[u8]) -> Option<Self> {
        let (time, rest) = text.split_at_checked("2026-11-20T09:15:00".len())?;
        let signs = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
        // RFC 3339 allows small letters, and a space in place of the `T`.
        if signs.iter().any(|(at, sign)| time[*at] != *sign) || !matches!(time[10], b'T' | b't' | b' ') {
            return None;
        }
        let (year, month, day) = (number(&time[..4])?, number(&time[5..7])?, number(&time[8..10])?);
        let (hour, minute, second) = (number(&time[11..13])?, number(&time[14..16])?, number(&time[17..])?);
        let days = match month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
            2 => 28,
            _ => return None,
        };
        if !(1..=days).contains(&day) || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let (millis, zone) = match rest {
            [b'.', fraction @ ..] => {
                let length = fraction.iter().take_while(|digit| digit.is_ascii_digit()).count();
                let (digits, zone) = fraction.split_at(length);
                let millis = match digits {
                    [] => return None,
                    [_] => number(digits)? * 100,
                    [_, _] => number(digits)? * 10,
                    [..] => number(&digits[..3])?,
                };
                (millis, zone)
            }
            _ => (0, rest),
        };
        let east = match zone {
            b"Z" | b"z" => 0,
            [sign @ (b'+' | b'-'), hours @ .., b':', tens, ones] if hours.len() == 2 => {
                let (hours, minutes) = (number(hours)?, number(&[*tens, *ones])?);
                if hours > 23 || minutes > 59 {
                    return None;
                }
                if *sign == b'+' { hours * 60 + minutes } else { -hours * 60 - minutes }
            }
            _ => return None,
        };
        // The inverse of `parts`: Howard Hinnant's `days_from_civil`.
        let shifted = if month <= 2 { year - 1 } else { year };
        let (era, year_of_era) = (shifted.div_euclid(400), shifted.rem_euclid(400));
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let minutes = (era * 146_097 + day_of_era - 719_468) * 1_440 + hour * 60 + minute - east;
        Some(Self::from_millis((minutes * 60 + second) * 1000 + millis))
    }

    /// The basic form of ISO 8601 to the second, `20261120T091500Z`: for names of objects.
    pub fn to_compact(self) -> String {
        let digits = self.text().into_iter().take("2026-11-20T09:15:00".len());
        let compact = digits.filter(|sign| !matches!(sign, b'-' | b':')).chain(*b"Z");
        compact.map(char::from).collect()
    }

    /// Year, month, day, and hour, minute, second, millisecond. Days to a date by Howard Hinnant's
    /// `civil_from_days`; on the path of every event, where a general formatter costs ten times as much.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to `MAX`: fewer than 3 million days
    fn parts(self) -> (u32, u32, u32, [u32; 4]) {
        let (days, millis) = ((self.0 / 86_400_000) as u32, (self.0 % 86_400_000) as u32);
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_index = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_index + 2) / 5 + 1;
        let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
        let year = year_of_era + era * 400 + u32::from(month <= 2);
        (year, month, day, [millis / 3_600_000, millis / 60_000 % 60, millis / 1000 % 60, millis % 1000])
    }

    /// As it is written, in ASCII.
    fn text(self) -> [u8; 24] {
        let (year, month, day, [hour, minute, second, millis]) = self.parts();
        let mut text = *b"0000-00-00T00:00:00.000Z";
        #[allow(clippy::cast_possible_truncation)] // a digit
        let digit = |value: u32| b'0' + value as u8;
        for (at, value) in [
            (0, year / 100),
            (2, year % 100),
            (5, month),
            (8, day),
            (11, hour),
            (14, minute),
            (17, second),
            (20, millis / 10),
        ] {
            text[at] = digit(value / 10);
            text[at + 1] = digit(value % 10);
        }
        text[22] = digit(millis % 10);
        text
    }
}

/// The value of some digits; `None` where one is none.
fn number(digits: &[u8]) -> Option<i64> {
    digits
        .iter()
        .try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0')))
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        Self::from_millis(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(std::str::from_utf8(&self.text()).map_err(ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Timestamp;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an RFC 3339 time")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
                Timestamp::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::{OffsetDateTime, format_description::well_known::Rfc3339};

    /// As the crate `time` reads it.
    fn peer(text: &str) -> Result<Timestamp, TimestampError> {
        let read = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| TimestampError)?;
        let millis = read.unix_timestamp_nanos().div_euclid(1_000_000);
        Ok(Timestamp::from_millis(i64::try_from(millis).unwrap()))
    }

    proptest! {
        #[test]
        fn text_is_what_the_general_formatter_writes(millis in 0..=Timestamp::MAX.as_millis()) {
            let ours = Timestamp::from_millis(millis);
            let theirs = OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000).unwrap();
            prop_assert_eq!(Timestamp::parse(&theirs.format(&Rfc3339).unwrap()).unwrap(), ours);
            prop_assert_eq!(Timestamp::parse(&ours.to_string()).unwrap(), ours);
            prop_assert_eq!(&ours.to_string()[..19], &theirs.format(&Rfc3339).unwrap()[..19]);
        }

        #[test]
        fn every_form_is_read_as_the_general_parser_reads_it(
            year in prop_oneof![0..10_000, 1_999..2_030],
            text in "-(0[0-9]|1[0-3])-([0-2][0-9]|3[0-2])[Tt ]([01][0-9]|2[0-4]):[0-6][0-9]:[0-5][0-9]([.][0-9]{0,12})?([Zz]|[+-][0-2][0-9]:[0-6][0-9])",
        ) {
            let text = format!("{year:04}{text}");
            prop_assert_eq!(Timestamp::parse(&text), peer(&text), "{}", text);
        }

        #[test]
        fn one_wrong_character_is_noticed(
            millis in 0..=Timestamp::MAX.as_millis(), at in 0_usize..24, wrong in "[ -~é]"
        ) {
            let mut text = Timestamp::from_millis(millis).to_string();
            text.replace_range(at..=at, &wrong);
            // The peer takes anything in the place of the `T`, and leap seconds at the end of a month only.
            prop_assume!(at != 10 && text.get(17..19) != Some("60"));
            prop_assert_eq!(Timestamp::parse(&text), peer(&text), "{}", text);
        }

        #[test]
        fn anything_else_is_refused(text in ".{0,40}") {
            prop_assert_eq!(Timestamp::parse(&text), Err(TimestampError));
        }
    }

    #[test]
    fn a_date_that_is_none_is_refused() {
        for text in [
            "2026-02-29T00:00:00.000Z",
            "2100-02-29T00:00:00Z",
            "2026-13-01T00:00:00.000Z",
            "2026-11-31T00:00:00.000Z",
            "2026-1x-01T00:00:00.000Z",
            "2026-11-20T09:15:61Z",
            "2026-11-20T09:15:00",
            "2026-11-20T09:15:00.Z",
            "2026-11-20T09:15:00+0200",
            "2026-11-20x09:15:00Z",
        ] {
            assert_eq!(Timestamp::parse(text), Err(TimestampError), "{text}");
        }
        for (text, same) in [
            ("2024-02-29T12:00:00.500Z", "2024-02-29T12:00:00.500Z"),
            ("2024-02-29t12:00:00.5+02:30", "2024-02-29T09:30:00.500Z"),
            ("2016-12-31 23:59:60Z", "2017-01-01T00:00:00.000Z"),
            ("1969-12-31T23:59:59Z", "1970-01-01T00:00:00.000Z"),
            ("9999-12-31T23:59:59.999999-23:59", "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp::parse(text).unwrap().to_string(), same);
        }
    }

    #[test]
    fn the_compact_form_names_objects() {
        assert_eq!(Timestamp::parse("2026-11-20T09:15:00Z").unwrap().to_compact(), "20261120T091500Z");
    }
}
