//! Names: the old form of eleven bytes, and the long form in UTF-16.

use std::collections::BTreeSet;

use crate::put::Put as _;

/// A name as an entry of a directory has it: eleven bytes, padded with spaces.
pub(super) type Short = [u8; 11];

/// Bytes of an entry.
const ENTRY: usize = 32;
/// UTF-16 units in an entry of a long name, and where they stand.
const UNITS: [usize; 13] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];

/// A name of a directory that has found its forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub short: Short,
    /// Empty where the short form says it all.
    long: Vec<u16>,
}

impl Name {
    /// Returns how many entries it takes.
    pub fn entries(&self) -> usize {
        1 + self.long.len().div_ceil(UNITS.len())
    }

    /// Returns the entries that hold the long form and stand before the short one.
    pub fn render_long(&self) -> Vec<u8> {
        let sum = self.short.iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
        let parts: Vec<_> = self.long.chunks(UNITS.len()).collect();
        let mut bytes = Vec::new();
        for (at, part) in parts.iter().enumerate().rev() {
            let mut entry = [0; ENTRY];
            let last = if at + 1 == parts.len() { 0x40 } else { 0 };
            entry.u8(0, (at as u8 + 1) | last);
            entry.u8(11, 0x0f);
            entry.u8(13, sum);
            let filling = part.iter().copied().chain([0]).chain(std::iter::repeat(0xffff));
            UNITS.iter().zip(filling).for_each(|(place, unit)| entry.le16(*place, unit));
            bytes.extend(entry);
        }
        bytes
    }
}

/// Gives every name of a directory its forms, in order; the error has the place of the name and says why.
pub(super) fn names(given: &[&[u8]]) -> Result<Vec<Name>, (usize, String)> {
    let texts: Vec<&str> =
        given.iter().enumerate().map(|(at, name)| check(name).map_err(|why| (at, why))).collect::<Result<_, _>>()?;
    let mut folded = BTreeSet::new();
    if let Some(at) = texts.iter().position(|text| !folded.insert(text.to_uppercase())) {
        return Err((at, "another name differs only in case".to_owned()));
    }
    let plain: Vec<Option<Short>> = texts.iter().map(|text| exact(text)).collect();
    let mut taken: BTreeSet<Short> = plain.iter().flatten().copied().collect();
    let forms = texts.iter().zip(plain).map(|(text, plain)| {
        let says_all = plain.is_some() && !text.bytes().any(|byte| byte.is_ascii_lowercase());
        let long = if says_all { Vec::new() } else { text.encode_utf16().collect() };
        Name { short: plain.unwrap_or_else(|| numbered(text, &mut taken)), long }
    });
    Ok(forms.collect())
}

fn check(name: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(name).map_err(|_| "its name is not UTF-8".to_owned())?;
    let odd = text.chars().find(|c| c.is_control() || "\\/:*?\"<>|".contains(*c));
    if let Some(odd) = odd {
        return Err(format!("its name holds {odd:?}"));
    }
    if text.ends_with(['.', ' ']) {
        return Err("its name ends with a dot or a space".to_owned());
    }
    if text.encode_utf16().count() > 255 {
        return Err("its name is longer than 255 characters".to_owned());
    }
    Ok(text)
}

/// Returns the short form that says a name but for its small letters: the ROM in a chip looks for no other.
fn exact(text: &str) -> Option<Short> {
    let text = text.to_ascii_uppercase();
    let (base, extension) = text.split_once('.').unwrap_or((&text, ""));
    let fits = |part: &str, most: usize| part.len() <= most && part.bytes().all(allowed);
    let dot_alone = text.ends_with('.');
    (!base.is_empty() && !dot_alone && fits(base, 8) && fits(extension, 3)).then(|| short(base, extension))
}

fn allowed(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"!#$%&'()-@^_`{}~".contains(&byte)
}

fn short(base: &str, extension: &str) -> Short {
    let mut bytes = [b' '; 11];
    bytes.put(0, base.as_bytes());
    bytes.put(8, extension.as_bytes());
    bytes
}

/// Returns the first form `BASE~N.EXT` that is free.
fn numbered(text: &str, taken: &mut BTreeSet<Short>) -> Short {
    let (base, extension) = text.rsplit_once('.').filter(|(base, _)| !base.is_empty()).unwrap_or((text, ""));
    let (base, extension) = (squeeze(base, 6), squeeze(extension, 3));
    let forms = (1u32..).map(|number| {
        let tail = format!("~{number}");
        short(&format!("{}{tail}", &base[..base.len().min(8 - tail.len())]), &extension)
    });
    let free = forms.into_iter().find(|form| !taken.contains(form)).expect("a directory has fewer names than numbers");
    taken.insert(free);
    free
}

fn squeeze(part: &str, most: usize) -> String {
    let kept = part.chars().filter(|c| *c != ' ' && *c != '.').map(|c| c.to_ascii_uppercase());
    let plain = kept.map(|c| if c.is_ascii() && allowed(c as u8) { c } else { '_' });
    let squeezed: String = plain.take(most).collect();
    if squeezed.is_empty() && most > 3 { "_".to_owned() } else { squeezed }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forms(given: &[&str]) -> Vec<(String, usize)> {
        let given: Vec<&[u8]> = given.iter().map(|name| name.as_bytes()).collect();
        let names = names(&given).unwrap();
        names.iter().map(|name| (String::from_utf8_lossy(&name.short).into_owned(), name.entries())).collect()
    }

    #[test]
    fn short_forms_are_unique_and_plain_names_keep_theirs() {
        let got = forms(&[
            "EFI",
            "BOOTX64.EFI",
            "bootcode.bin",
            "start",
            "loader.conf",
            "LOADER~1.CON",
            "loader.config",
            ".hidden",
            "ä b.c",
            "a.b.c",
        ]);
        let wanted: [(&str, usize); 10] = [
            ("EFI        ", 1),
            ("BOOTX64 EFI", 1),
            ("BOOTCODEBIN", 2),
            ("START      ", 2),
            ("LOADER~2CON", 2),
            ("LOADER~1CON", 1),
            ("LOADER~3CON", 2),
            ("HIDDEN~1   ", 2),
            ("_B~1    C  ", 2),
            ("AB~1    C  ", 2),
        ];
        assert_eq!(got, wanted.map(|(name, entries)| (name.to_owned(), entries)));
    }

    #[test]
    fn names_that_cannot_be_are_told() {
        for name in ["a:b", "a.", "a ", "\n"] {
            assert!(names(&[name.as_bytes()]).is_err(), "{name:?}");
        }
        assert!(names(&[b"\xff"]).is_err());
        assert_eq!(names(&[b"Ab", b"c", b"aB"]), Err((2, "another name differs only in case".to_owned())));
    }
}
