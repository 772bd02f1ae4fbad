//! When a schedule sends: a time apart, or a cron expression in a time zone; the same on one machine and on AWS.

use crate::timestamp::Timestamp;
use std::{fmt, time::Duration};

/// When a schedule sends its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// So often, counted from the epoch in UTC: whole minutes that divide an hour (1, 2, 5, 15 …), whole hours that divide
    /// a day (1, 2, 6 …), or a day. What is in between can't be said to EventBridge Scheduler as the same times.
    Every(Duration),
    /// At the times of a cron expression.
    Cron(Cron),
}

impl From<Duration> for When {
    fn from(every: Duration) -> Self {
        Self::Every(every)
    }
}

impl From<Cron> for When {
    fn from(cron: Cron) -> Self {
        Self::Cron(cron)
    }
}

/// A cron expression with a time zone.
///
/// Five fields: minute, hour, day of the month, month, day of the week (`MON` to `SUN`, or 0 to 6 from Sunday), with `*`,
/// lists, ranges and steps. Of the two fields for days, one at least is `*`: EventBridge Scheduler knows no "either".
///
/// ```
/// use quadrille::{Cron, Timestamp, choreography::When};
/// let evening = When::from(Cron::new("0 18 * * MON-FRI", "Europe/Berlin"));
/// let friday = Timestamp::parse("2026-11-20T17:00:00Z")?;
/// assert_eq!(evening.next(friday)?.to_string(), "2026-11-23T17:00:00.000Z");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    expression: String,
    zone: String,
}

/// Why a schedule has no times.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WhenError(String);

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The beginning of the year by which the longest time between two of a cron expression's is found: the same for whoever asks.
const YEAR_LOOKED_AT: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// How long after that a time may be, in milliseconds: a little more than two years.
const YEARS_LOOKED_AT: u64 = 732 * DAY;

/// Times of a cron expression that are looked at: a week of every minute, and more than a year of every hour.
const TIMES_LOOKED_AT: usize = 10_080;

const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

impl Cron {
    /// The times of `expression` in the time zone of this name (`UTC`, `Europe/Berlin`: the IANA database).
    pub fn new(expression: impl Into<String>, zone: impl Into<String>) -> Self {
        Self { expression: expression.into(), zone: zone.into() }
    }

    /// The expression, as it was given.
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// The time zone.
    pub fn zone(&self) -> &str {
        &self.zone
    }

    fn parse(&self) -> Result<cronexpr::Crontab, WhenError> {
        let wrong = |why: String| WhenError(format!("{:?} in {:?}: {why}", self.expression, self.zone));
        self.fields()?;
        jiff::tz::TimeZone::get(&self.zone).map_err(|error| wrong(error.to_string()))?;
        let text = format!("{} {}", self.expression, self.zone);
        cronexpr::parse_crontab(&text)
            .map_err(|error| wrong(error.to_string().lines().last().unwrap_or_default().to_owned()))
    }

    /// The five fields, of which AWS and the crate that reads them here understand the same.
    fn fields(&self) -> Result<[&str; 5], WhenError> {
        let fields: Vec<&str> = self.expression.split_ascii_whitespace().collect();
        let fields: [&str; 5] = fields.try_into().map_err(|_| {
            WhenError(format!("{:?} has not five fields, minute to weekday", self.expression))
        })?;
        let plain =
            |c: char| c.is_ascii_digit() || c.is_ascii_uppercase() || matches!(c, '*' | ',' | '-' | '/');
        // Names have three letters: `L` and `W` are words that each reader takes otherwise.
        let named = |field: &str| {
            field.split(|c: char| !c.is_ascii_uppercase()).all(|name| name.is_empty() || name.len() == 3)
        };
        if let Some(field) = fields.iter().find(|field| !field.chars().all(plain) || !named(field)) {
            return Err(WhenError(format!(
                "{field:?} has more than digits, upper-case names, '*', ',', '-' and '/': EventBridge Scheduler and this machine \
                 read it differently"
            )));
        }
        if fields[2] != "*" && fields[4] != "*" {
            return Err(WhenError(format!(
                "{:?} names days of the month and of the week, and EventBridge Scheduler takes one of them: make one `*`",
                self.expression
            )));
        }
        Ok(fields)
    }

    /// As EventBridge Scheduler reads it: a sixth field for the year, `?` for the days that do not matter, and weekdays by
    /// name, as its numbers count from 1.
    fn to_aws(&self) -> Result<String, WhenError> {
        let [minute, hour, day, month, weekday] = self.fields()?;
        if weekday == "*" {
            return Ok(format!("cron({minute} {hour} {day} {month} ? *)"));
        }
        let name = |part: &str| match part.parse::<usize>() {
            Ok(number) => WEEKDAYS.get(number % 7).map_or_else(|| part.to_owned(), ToString::to_string),
            Err(_) => part.to_owned(),
        };
        // A step's number behind '/' is a count and not a day.
        let parts = weekday.split(',').map(|part| {
            let (days, step) =
                part.split_once('/').map_or((part, String::new()), |(days, step)| (days, format!("/{step}")));
            days.split('-').map(name).collect::<Vec<_>>().join("-") + &step
        });
        let weekday = parts.collect::<Vec<_>>().join(",");
        Ok(format!("cron({minute} {hour} ? {month} {weekday} *)"))
    }
}

impl When {
    /// The first time after `after`.
    ///
    /// # Errors
    /// [`WhenError`] for an expression or a time zone that is none, or one that never comes.
    pub fn next(&self, after: Timestamp) -> Result<Timestamp, WhenError> {
        match self {
            Self::Every(every) => {
                let every = i64::try_from(every.as_millis()).unwrap_or(i64::MAX).max(1);
                let next = (after.as_millis().div_euclid(every) + 1).saturating_mul(every);
                Ok(Timestamp::from_millis(next))
            }
            Self::Cron(cron) => {
                let from = cronexpr::MakeTimestamp::from_millisecond(after.as_millis());
                let next = from.and_then(|from| cron.parse_lenient()?.find_next(from));
                let next = next.map_err(|error| WhenError(format!("{:?}: {error}", cron.expression)))?;
                Ok(Timestamp::from_millis(next.timestamp().as_millisecond()))
            }
        }
    }

    /// The longest time between two of its times, of the first 10,080 in the year 2026; `None` where it has none.
    pub fn longest_gap(&self) -> Option<Duration> {
        let cron = match self {
            Self::Every(every) => return Some(*every),
            Self::Cron(cron) => cron.parse_lenient().ok()?,
        };
        let from = cronexpr::MakeTimestamp::from_millisecond(YEAR_LOOKED_AT.as_millis()).ok()?;
        let times = cron.iter_after(from).ok()?.map_while(Result::ok);
        let times: Vec<Timestamp> = times
            .map(|time| Timestamp::from_millis(time.timestamp().as_millisecond()))
            .take_while(|time| time.since(YEAR_LOOKED_AT) <= Duration::from_millis(YEARS_LOOKED_AT))
            .take(TIMES_LOOKED_AT)
            .collect();
        times.windows(2).map(|pair| pair[1].since(pair[0])).max()
    }

    /// The expression and the time zone of EventBridge Scheduler for the same times.
    ///
    /// # Errors
    /// [`WhenError`] for what one machine and AWS do not do alike.
    pub fn to_aws(&self) -> Result<(String, &str), WhenError> {
        match self {
            Self::Cron(cron) => {
                cron.parse()?;
                Ok((cron.to_aws()?, &cron.zone))
            }
            Self::Every(every) => {
                let millis = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
                let fields = match millis {
                    MINUTE => "* * * * ? *".to_owned(),
                    HOUR => "0 * * * ? *".to_owned(),
                    DAY => "0 0 * * ? *".to_owned(),
                    _ if millis > 0 && millis.is_multiple_of(MINUTE) && HOUR.is_multiple_of(millis) => {
                        format!("0/{} * * * ? *", millis / MINUTE)
                    }
                    _ if millis > 0 && millis.is_multiple_of(HOUR) && DAY.is_multiple_of(millis) => {
                        format!("0 0/{} * * ? *", millis / HOUR)
                    }
                    _ => {
                        return Err(WhenError(format!(
                            "every {} is not at the same times on AWS: take minutes that divide an hour, hours that divide a day, a \
                             day, or a cron expression",
                            crate::setting::write_duration(*every)
                        )));
                    }
                };
                Ok((format!("cron({fields})"), "UTC"))
            }
        }
    }
}

impl Cron {
    fn parse_lenient(&self) -> Result<cronexpr::Crontab, cronexpr::Error> {
        cronexpr::parse_crontab(&format!("{} {}", self.expression, self.zone))
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(every) => write!(f, "every {}", crate::setting::write_duration(*every)),
            Self::Cron(cron) => write!(f, "{} {}", cron.expression, cron.zone),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every(seconds: u64) -> When {
        When::Every(Duration::from_secs(seconds))
    }

    #[test]
    fn what_is_said_to_aws_comes_at_the_same_times() {
        for (seconds, expected) in [
            (60, "cron(* * * * ? *)"),
            (300, "cron(0/5 * * * ? *)"),
            (3_600, "cron(0 * * * ? *)"),
            (21_600, "cron(0 0/6 * * ? *)"),
            (86_400, "cron(0 0 * * ? *)"),
        ] {
            assert_eq!(every(seconds).to_aws(), Ok((expected.to_owned(), "UTC")));
        }
        for (expression, expected) in [
            ("0 18 * * MON-FRI", "cron(0 18 ? * MON-FRI *)"),
            ("0 18 * * 1-5", "cron(0 18 ? * MON-FRI *)"),
            ("15 0 * * 0,3", "cron(15 0 ? * SUN,WED *)"),
            ("0 0 1 1,7 *", "cron(0 0 1 1,7 ? *)"),
            ("*/5 * * * *", "cron(*/5 * * * ? *)"),
        ] {
            let when = When::from(Cron::new(expression, "Europe/Berlin"));
            assert_eq!(when.to_aws(), Ok((expected.to_owned(), "Europe/Berlin")));
        }
    }

    #[test]
    fn what_aws_does_otherwise_is_an_error() {
        for when in [every(1), every(90), every(420), every(5_400), every(172_800), every(0)] {
            assert!(when.to_aws().is_err(), "{when}");
        }
        assert!(When::Every(Duration::from_millis(1_500)).to_aws().is_err());
        for (expression, zone) in [
            ("0 18 1 * MON", "UTC"),
            ("0 18 * *", "UTC"),
            ("0 18 ? * MON", "UTC"),
            ("0 18 L * *", "UTC"),
            ("61 * * * *", "UTC"),
            ("0 18 * * MON#1", "UTC"),
            ("0 18 * * *", "Europe/Atlantis"),
            ("0 18 * * *", ""),
        ] {
            assert!(When::from(Cron::new(expression, zone)).to_aws().is_err(), "{expression} {zone}");
        }
    }

    #[test]
    fn the_longest_gap_is_that_of_a_night_a_weekend_or_a_month() {
        const HOURS: u64 = 3_600;
        for (expression, seconds) in [
            ("*/5 * * * *", 300),
            ("0 8-17 * * *", 15 * HOURS),
            ("* 9-17 * * MON-FRI", (48 + 15) * HOURS + 60),
            ("0 18 * * MON-FRI", 72 * HOURS),
            ("0 6 1 * *", 31 * 24 * HOURS),
            ("0 0 1 1 *", 365 * 24 * HOURS),
        ] {
            let gap = When::from(Cron::new(expression, "UTC")).longest_gap();
            assert_eq!(gap, Some(Duration::from_secs(seconds)), "{expression}");
        }
        assert_eq!(every(300).longest_gap(), Some(Duration::from_secs(300)));
        // The night in which summer ends has an hour more.
        let daily = When::from(Cron::new("0 18 * * *", "Europe/Berlin"));
        assert_eq!(daily.longest_gap(), Some(Duration::from_secs(25 * HOURS)));
        assert_eq!(When::from(Cron::new("0 0 30 2 *", "UTC")).longest_gap(), None);
    }

    #[test]
    fn times_are_those_of_the_zone_whatever_the_season() {
        let noon = When::from(Cron::new("0 12 * * *", "Europe/Berlin"));
        let next = |after: &str| noon.next(Timestamp::parse(after).unwrap()).unwrap().to_string();
        assert_eq!(next("2026-01-01T00:00:00Z"), "2026-01-01T11:00:00.000Z");
        assert_eq!(next("2026-07-01T00:00:00Z"), "2026-07-01T10:00:00.000Z");
        let five = every(300);
        let at = Timestamp::parse("2026-01-01T00:05:00Z").unwrap();
        assert_eq!(five.next(at).unwrap().to_string(), "2026-01-01T00:10:00.000Z");
    }
}
