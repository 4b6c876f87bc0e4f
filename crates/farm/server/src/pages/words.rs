//! Times and sizes as people read them.

use maud::{Markup, html};

/// Returns a moment: an HTML time that script turns into the reader's own.
pub fn moment(millis: i64) -> Markup {
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or_default();
    let machine = time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    html! { time datetime=(machine) { (time.strftime("%Y-%m-%d %H:%M:%S")) " UTC" } }
}

/// Returns the time of day of a moment, UTC.
pub fn clock(millis: i64) -> String {
    jiff::Timestamp::from_millisecond(millis).unwrap_or_default().strftime("%H:%M:%S%.3f").to_string()
}

/// Returns how long something takes.
pub fn span(millis: i64) -> String {
    let seconds = millis / 1000;
    match seconds {
        ..1 => format!("{millis} ms"),
        1..60 => format!("{seconds}.{} s", millis % 1000 / 100),
        60..3600 => format!("{}:{:02} min", seconds / 60, seconds % 60),
        _ => format!("{}:{:02} h", seconds / 3600, seconds / 60 % 60),
    }
}

pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// Returns a state's name as a badge.
pub fn state(name: &str) -> Markup {
    html! { span class={ "state " (name) } { (name) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes() {
        let spans = [(5, "5 ms"), (1500, "1.5 s"), (61_000, "1:01 min"), (7_260_000, "2:01 h")];
        spans.into_iter().for_each(|(millis, wanted)| assert_eq!(span(millis), wanted));
        let sizes = [(1, "1 B"), (1024, "1.0 KiB"), (1_610_612_736, "1.5 GiB")];
        sizes.into_iter().for_each(|(bytes, wanted)| assert_eq!(size(bytes), wanted));
    }
}
