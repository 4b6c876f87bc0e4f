//! Sizes in bytes.

use crate::shape::{Form, Wrong};

pub static SIZE: Form = Form {
    what: "a size such as \"512MiB\"",
    pattern: Some(r"^[0-9]+(\.[0-9]+)? ?(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)?$"),
    check: |text| size(text).map(drop),
    hint: Some("write it with its unit: \"512MiB\""),
};

pub static SIZE_OR_AUTO: Form = Form {
    what: "\"auto\" or a size such as \"4GiB\"",
    pattern: Some(r"^(auto|[0-9]+(\.[0-9]+)? ?(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)?)$"),
    check: |text| if text == "auto" { Ok(()) } else { size(text).map(drop) },
    hint: Some("write it with its unit: \"4GiB\", or \"auto\""),
};

static UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Returns the bytes that `4GiB`, `0.5 GiB` or `1000000` stand for.
pub fn size(text: &str) -> Result<u64, Wrong> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..split], text[split..].trim_start());
    let wrong = || Wrong::new(format!("`{text}` is not a size")).label("expected a number and a unit, as in \"4GiB\"");
    let factor = match unit {
        "" => 1,
        _ => match UNITS.iter().find(|(name, _)| *name == unit) {
            Some((_, factor)) => *factor,
            None => return Err(wrong().maybe_hint(unit_meant(number, unit))),
        },
    };
    bytes(number, factor).ok_or_else(wrong)
}

/// `4G` may mean either of two; `4gib` only one.
fn unit_meant(number: &str, unit: &str) -> Option<String> {
    let near = |(name, _): &&(&str, u64)| name.eq_ignore_ascii_case(unit) || name.starts_with(&unit.to_uppercase());
    let meant: Vec<String> = UNITS.iter().filter(near).map(|(name, _)| format!("\"{number}{name}\"")).collect();
    (!meant.is_empty()).then(|| format!("write {}", meant.join(" or ")))
}

/// Multiplies in whole numbers, so that no size depends on rounding.
fn bytes(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if fraction.len() > 6 {
        return None;
    }
    let scale = 10_u128.pow(fraction.len() as u32);
    let (whole, fraction): (u128, u128) = (whole.parse().ok()?, fraction.parse().ok()?);
    let bytes = whole.checked_mul(scale)?.checked_add(fraction)?.checked_mul(u128::from(factor))? / scale;
    u64::try_from(bytes).ok().filter(|bytes| *bytes < 1 << 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_bytes() {
        let of = |text: &str| size(text).ok();
        assert_eq!(of("4GiB"), Some(4 << 30));
        assert_eq!(of("1.5 GiB"), Some(3 << 29));
        assert_eq!(of("2GB"), Some(2_000_000_000));
        assert_eq!(of("7"), Some(7));
        assert_eq!(of("99999999999999TiB"), None);
        assert_eq!(size("4G").unwrap_err().hint.as_deref(), Some("write \"4GB\" or \"4GiB\""));
        assert_eq!(size("4mib").unwrap_err().hint.as_deref(), Some("write \"4MiB\""));
    }
}
