//! Names that others keep lists of: time zones, locales, keyboards.

use std::sync::LazyLock;

static TIMEZONE_LINES: &str = include_str!("../../../../../data/names/timezones.txt");
static LOCALE_LINES: &str = include_str!("../../../../../data/names/locales.txt");
static KEYBOARD_LINES: &str = include_str!("../../../../../data/names/keyboards.txt");

/// Every time zone, old names included.
pub static TIMEZONES: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| lines(TIMEZONE_LINES).map(|line| line.strip_suffix(" legacy").unwrap_or(line)).collect());

/// Every locale with UTF-8, as glibc spells it.
pub static LOCALES: LazyLock<Vec<&'static str>> = LazyLock::new(|| lines(LOCALE_LINES).collect());

/// Whether a time zone is an old name that newer releases keep in a package of its own.
pub fn is_legacy_timezone(zone: &str) -> bool {
    lines(TIMEZONE_LINES).any(|line| line.strip_suffix(" legacy") == Some(zone))
}

pub fn keyboard_layouts() -> Vec<&'static str> {
    lines(KEYBOARD_LINES).filter_map(|line| line.strip_prefix("layout ")).collect()
}

pub fn keyboard_models() -> Vec<&'static str> {
    lines(KEYBOARD_LINES).filter_map(|line| line.strip_prefix("model ")).collect()
}

/// Returns the variants of a keyboard layout.
pub fn keyboard_variants(layout: &str) -> Vec<&'static str> {
    let variants = lines(KEYBOARD_LINES).filter_map(|line| line.strip_prefix("variant ")?.split_once(' '));
    variants.filter(|(of, _)| *of == layout).map(|(_, variant)| variant).collect()
}

fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().filter(|line| !line.starts_with('#') && !line.is_empty())
}
