//! Numbers as people read them.

/// Returns bytes with a unit: `512 B`, `1.4 kB`, `24.1 MB`, `1.2 GB`.
pub fn bytes(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, "B");
    for next in ["kB", "MB", "GB", "TB"] {
        if value < 999.95 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

/// Returns milliseconds as time: `0.3 s`, `12.4 s`, `3:07 min`, `1:02:03 h`.
pub fn time(millis: u64) -> String {
    let seconds = millis / 1000;
    match seconds {
        0..60 => format!("{seconds}.{} s", millis % 1000 / 100),
        60..3600 => format!("{}:{:02} min", seconds / 60, seconds % 60),
        _ => format!("{}:{:02}:{:02} h", seconds / 3600, seconds / 60 % 60, seconds % 60),
    }
}

/// Returns `1 package`, `2 packages`.
pub fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Reads a size in bytes: `20G`, `512M`, `1.5GB`, `1024`; units count in thousands, with `i` in 1024s.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a size such as `20G`, `512MiB` or `1048576`");
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..at].parse().map_err(|_| wrong())?;
    let unit = text[at..].trim().to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let (base, letter) = unit.strip_suffix('i').map_or((1000_u64, unit), |letter| (1024, letter));
    let power = ["", "k", "m", "g", "t"].iter().position(|known| *known == letter).ok_or_else(wrong)?;
    Ok((number * base.pow(power as u32) as f64) as u64)
}

/// Reads a time span such as `90m` or `1h 30m`: seconds.
pub fn parse_seconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a time such as `45s`, `90m` or `1h 30m`");
    let span: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    u64::try_from(span.as_secs()).ok().filter(|seconds| *seconds > 0).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, seconds) in [("45s", 45), ("90m", 5400), ("1h 30m", 5400), ("24h", 86_400)] {
            assert_eq!(parse_seconds(text), Ok(seconds));
        }
        for text in ["", "0s", "-3m", "10", "1 week"] {
            assert!(parse_seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_read_well() {
        let cases = [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (24_100_000, "24.1 MB"), (999_950_000, "1.0 GB")];
        cases.iter().for_each(|(given, wanted)| assert_eq!(bytes(*given), *wanted));
    }

    #[test]
    fn times_read_well() {
        let cases = [(300, "0.3 s"), (59_999, "59.9 s"), (187_000, "3:07 min"), (3_723_000, "1:02:03 h")];
        cases.iter().for_each(|(given, wanted)| assert_eq!(time(*given), *wanted));
    }

    #[test]
    fn sizes_are_understood() {
        let cases =
            [("1024", 1024), ("20G", 20_000_000_000), ("1.5GB", 1_500_000_000), ("512MiB", 512 << 20), ("2ki", 2048)];
        cases.iter().for_each(|(given, wanted)| assert_eq!(parse_bytes(given), Ok(*wanted)));
        ["", "G", "12Q", "-1", "1..2"].iter().for_each(|given| assert!(parse_bytes(given).is_err(), "{given}"));
    }
}
