//! Durations, days and snapshots.

use super::expect;
use crate::catalogue::names;
use crate::shape::{Form, Wrong, did_you_mean};

pub static DURATION: Form = Form {
    what: "a time such as \"90s\" or \"5min\"",
    pattern: Some(r"^[0-9]+(s|min|h)$"),
    check: |text| {
        let wrong = || Wrong::new(format!("`{text}` is not a time")).label("expected \"90s\", \"5min\" or \"1h\"");
        expect(seconds(text).is_some(), wrong)
    },
    hint: None,
};

/// Returns the seconds that `90s`, `5min` or `1h` stand for.
pub fn seconds(text: &str) -> Option<u32> {
    let units = [("min", 60), ("s", 1), ("h", 3600)];
    let (unit, factor) = units.into_iter().find(|(unit, _)| text.ends_with(unit))?;
    let number = text.strip_suffix(unit)?;
    (!number.starts_with('+')).then_some(())?;
    number.parse::<u32>().ok()?.checked_mul(factor)
}

pub static SNAPSHOT: Form = Form {
    what: "a day such as \"2026-01-01\", or a moment such as \"20260101T000000Z\"",
    pattern: Some(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$|^[0-9]{8}T[0-9]{6}Z$"),
    check: |text| {
        expect(stamp(text).is_some(), || {
            Wrong::new(format!("`{text}` is not a moment")).label("expected \"2026-01-01\" or \"20260101T000000Z\"")
        })
    },
    hint: Some("write it as text: \"2026-01-01\""),
};

/// Returns the stamp that snapshot archives have in their addresses.
pub fn stamp(text: &str) -> Option<String> {
    let digits: String = match text.len() {
        10 if text.as_bytes()[4] == b'-' && text.as_bytes()[7] == b'-' => text.replace('-', "") + "000000",
        16 if text.as_bytes()[8] == b'T' && text.ends_with('Z') => format!("{}{}", text.get(..8)?, text.get(9..15)?),
        _ => return None,
    };
    let number = |from: usize, to: usize| digits.get(from..to)?.parse::<u32>().ok();
    let fine = digits.bytes().all(|b| b.is_ascii_digit())
        && (1..=12).contains(&number(4, 6)?)
        && (1..=days(number(0, 4)?, number(4, 6)?)).contains(&number(6, 8)?)
        && number(8, 10)? < 24
        && number(10, 12)? < 60
        && number(12, 14)? < 61;
    fine.then(|| format!("{}T{}Z", &digits[..8], &digits[8..]))
}

fn days(year: u32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        _ => 31,
    }
}

pub static TIMEZONE: Form = Form {
    what: "a time zone such as \"Europe/Berlin\"",
    pattern: Some(r"^[A-Za-z0-9_+/-]+$"),
    check: |text| {
        let zones = || names::TIMEZONES.iter().copied();
        expect(zones().any(|zone| zone == text), || {
            let city = zones().find(|zone| zone.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(text)));
            let hint = city.map(|zone| format!("did you mean `{zone}`?")).or_else(|| did_you_mean(text, zones()));
            Wrong::new(format!("there is no time zone `{text}`")).maybe_hint(hint)
        })
    },
    hint: None,
};
