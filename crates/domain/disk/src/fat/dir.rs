//! Entries of directories.

use super::name::Name;
use crate::put::Put as _;

pub(super) const DIRECTORY: u8 = 0x10;
pub(super) const FILE: u8 = 0x20;
const LABEL: u8 = 0x08;
/// 1980 and the end of 2107, between which times can be told, in seconds since 1970.
const TIMES: (i64, i64) = (315_532_800, 4_354_819_199);

/// What an entry leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub attribute: u8,
    /// First cluster; 0 for nothing, and for the root.
    pub cluster: u32,
    /// Length in bytes; 0 for directories.
    pub size: u32,
    /// In seconds since 1970.
    pub time: i64,
}

/// Returns the entries of a name.
pub(super) fn entry(name: &Name, target: Target) -> Vec<u8> {
    let mut bytes = name.render_long();
    bytes.extend(plain(&name.short, target));
    bytes
}

/// Returns the entries that every directory below the root begins with.
pub(super) fn dots(own: Target, parent: Target) -> Vec<u8> {
    [plain(b".          ", own), plain(b"..         ", parent)].concat()
}

/// Returns the entry of the root directory that holds the label.
pub(super) fn label(label: &[u8; 11], time: i64) -> Vec<u8> {
    plain(label, Target { attribute: LABEL, cluster: 0, size: 0, time })
}

fn plain(name: &[u8; 11], target: Target) -> Vec<u8> {
    let (date, time) = date_and_time(target.time);
    let mut bytes = vec![0; 32];
    bytes.put(0, name);
    bytes.u8(11, target.attribute);
    bytes.le16(14, time);
    bytes.le16(16, date);
    bytes.le16(18, date);
    bytes.le16(20, (target.cluster >> 16) as u16);
    bytes.le16(22, time);
    bytes.le16(24, date);
    bytes.le16(26, target.cluster as u16);
    bytes.le32(28, target.size);
    bytes
}

/// Date and time in UTC, to two seconds.
fn date_and_time(seconds: i64) -> (u16, u16) {
    let seconds = seconds.clamp(TIMES.0, TIMES.1);
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let date = (year - 1980) << 9 | month << 5 | day;
    let time = ((rest / 3600) << 11) | ((rest / 60 % 60) << 5) | (rest % 60 / 2);
    (date as u16, time as u16)
}

/// Year, month and day of a number of days since 1970, counted from March so that leap days come last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let month = if march < 10 { march + 3 } else { march - 9 };
    (year + era * 400 + i64::from(month <= 2), month, of_year - (153 * march + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(19_782), (2024, 2, 29));
        assert_eq!(civil(-1), (1969, 12, 31));
        assert_eq!(date_and_time(1_709_210_096), (44 << 9 | 2 << 5 | 29, 12 << 11 | 34 << 5 | 28));
        assert_eq!(date_and_time(0), (1 << 5 | 1, 0));
    }
}
