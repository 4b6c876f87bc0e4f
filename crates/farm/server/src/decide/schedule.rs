//! When a schedule builds.
//!
//! A time that the clocks leave out in spring is made up for right after; one that they repeat in autumn counts once, but what runs every
//! so many minutes runs through both hours. What was missed while nobody looked happens once, and then it goes on from now.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;

/// Times of a clock on the wall, somewhere.
#[derive(Clone, Debug)]
pub struct Times {
    cron: Cron,
    zone: TimeZone,
}

/// What a schedule does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Wait,
    /// It builds, and then at `next`.
    Build {
        next: Option<i64>,
    },
}

impl Times {
    /// Reads a pattern and a time zone.
    pub fn read(cron: &str, zone: &str) -> Result<Self, String> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let known = parser.parse(cron).map_err(|error| format!("`{cron}` is no pattern of times: {error}"))?;
        let found = TimeZone::get(zone).map_err(|_| format!("there is no time zone `{zone}` on the server"))?;
        Ok(Self { cron: known, zone: found })
    }

    /// Returns the first time after then, milliseconds since 1970; none: never again.
    pub fn after(&self, then: i64) -> Option<i64> {
        let then = jiff::Timestamp::from_millisecond(then).ok()?.to_zoned(self.zone.clone());
        Some(self.cron.find_next_occurrence(&then, false).ok()?.timestamp().as_millisecond())
    }

    /// Decides about a schedule that was to build at `next`.
    pub fn turn(&self, next: i64, now: i64) -> Turn {
        if now < next { Turn::Wait } else { Turn::Build { next: self.after(now) } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
    }

    fn following(cron: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let times = Times::read(cron, zone).unwrap();
        let all = std::iter::successors(Some(at(from)), |then| times.after(*then));
        all.skip(1).take(count).map(|time| jiff::Timestamp::from_millisecond(time).unwrap().to_string()).collect()
    }

    #[test]
    fn times_of_a_wall_clock() {
        let cases: &[(&str, &str, &str, &[&str])] = &[
            ("30 4 * * *", "UTC", "2026-01-01T00:00:00Z", &["2026-01-01T04:30:00Z", "2026-01-02T04:30:00Z"]),
            ("30 4 * * *", "UTC", "2026-01-01T04:30:00Z", &["2026-01-02T04:30:00Z"]),
            ("0 9 * * mon-fri", "Asia/Tokyo", "2026-01-02T00:00:00Z", &["2026-01-05T00:00:00Z"]),
            ("@weekly", "UTC", "2026-01-01T00:00:00Z", &["2026-01-04T00:00:00Z"]),
            ("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", &["2028-02-29T00:00:00Z"]),
            // In Helsinki 03:00 follows 02:59 by an hour on 2026-03-29: 03:30 is not there, and is made up for at 04:00.
            (
                "30 3 * * *",
                "Europe/Helsinki",
                "2026-03-28T00:00:00Z",
                &["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"],
            ),
            // On 2026-10-25 there is 03:30 twice: the first counts.
            (
                "30 3 * * *",
                "Europe/Helsinki",
                "2026-10-24T12:00:00Z",
                &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
            ),
            // Every half an hour is every half an hour.
            (
                "*/30 * * * *",
                "Europe/Helsinki",
                "2026-10-25T00:00:00Z",
                &["2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00Z"],
            ),
            (
                "*/30 * * * *",
                "Europe/Helsinki",
                "2026-03-29T00:30:00Z",
                &["2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"],
            ),
        ];
        for (cron, zone, from, wanted) in cases {
            assert_eq!(following(cron, zone, from, wanted.len()), *wanted, "{cron} {zone} {from}");
        }
    }

    #[test]
    fn what_was_missed_happens_once() {
        let times = Times::read("0 * * * *", "UTC").unwrap();
        let (next, build) = (at("2026-01-01T01:00:00Z"), |then| Turn::Build { next: Some(at(then)) });
        let cases = [
            ("2026-01-01T00:59:59Z", Turn::Wait),
            ("2026-01-01T01:00:00Z", build("2026-01-01T02:00:00Z")),
            ("2026-01-01T01:00:07Z", build("2026-01-01T02:00:00Z")),
            ("2026-01-03T12:30:00Z", build("2026-01-03T13:00:00Z")),
        ];
        for (now, wanted) in cases {
            assert_eq!(times.turn(next, at(now)), wanted, "{now}");
        }
    }

    #[test]
    fn what_is_no_schedule() {
        for (cron, zone) in [
            ("", "UTC"),
            ("* * * *", "UTC"),
            ("0 0 0 * * *", "UTC"),
            ("61 * * * *", "UTC"),
            ("0 0 * * *", "Mars/Olympus"),
        ] {
            assert!(Times::read(cron, zone).is_err(), "{cron} {zone}");
        }
        assert_eq!(
            Times::read("0 0 31 2 *", "UTC").ok().and_then(|times| times.after(0)),
            None,
            "a day that never comes"
        );
    }
}
