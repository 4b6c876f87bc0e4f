//! One tar header: 512 bytes in the v7, ustar or GNU form.

/// Length of a header and of every block.
pub const BLOCK: usize = 512;

/// The fields of a header, not yet judged.
pub struct Header<'a>(pub &'a [u8; BLOCK]);

impl<'a> Header<'a> {
    /// Whether the checksum fits: the sum of all bytes with the checksum's own taken as blanks, signed or unsigned.
    pub fn checks(&self) -> bool {
        let Some(wanted) = octal(&self.0[148..156]) else { return false };
        let byte = |at: usize| if (148..156).contains(&at) { b' ' } else { self.0[at] };
        let unsigned: u64 = (0..BLOCK).map(|at| u64::from(byte(at))).sum();
        let signed: i64 = (0..BLOCK).map(|at| i64::from(byte(at) as i8)).sum();
        wanted == unsigned || i64::try_from(wanted) == Ok(signed)
    }

    /// Returns the name with its ustar prefix.
    pub fn name(&self) -> Vec<u8> {
        let name = text(&self.0[..100]);
        let prefix = if &self.0[257..263] == b"ustar\0" { text(&self.0[345..500]) } else { b"" };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    pub fn link(&self) -> &'a [u8] {
        text(&self.0[157..257])
    }

    pub fn mode(&self) -> Option<i64> {
        number(&self.0[100..108])
    }

    pub fn uid(&self) -> Option<i64> {
        number(&self.0[108..116])
    }

    pub fn gid(&self) -> Option<i64> {
        number(&self.0[116..124])
    }

    pub fn size(&self) -> Option<i64> {
        number(&self.0[124..136])
    }

    pub fn mtime(&self) -> Option<i64> {
        number(&self.0[136..148])
    }

    pub fn kind(&self) -> u8 {
        self.0[156]
    }

    /// Returns the names of user and group; empty where the form has none.
    pub fn owners(&self) -> (&'a [u8], &'a [u8]) {
        if self.0[257..262] == *b"ustar" { (text(&self.0[265..297]), text(&self.0[297..329])) } else { (b"", b"") }
    }
}

/// Returns a field up to its first NUL.
fn text(field: &[u8]) -> &[u8] {
    &field[..memchr::memchr(0, field).unwrap_or(field.len())]
}

/// Reads an octal number, or the base-256 number of GNU tar where the first bit is set. An empty field is zero.
fn number(field: &[u8]) -> Option<i64> {
    if field[0] & 0x80 == 0 {
        return octal(field).and_then(|value| value.try_into().ok());
    }
    let negative = field[0] & 0x40 != 0;
    let first = if negative { i128::from(field[0] | 0x80) - 256 } else { i128::from(field[0] & 0x7f) };
    let value = field[1..].iter().fold(first, |value, &byte| (value << 8) | i128::from(byte));
    value.try_into().ok()
}

fn octal(field: &[u8]) -> Option<u64> {
    let text = field.trim_ascii_start();
    let end = text.iter().position(|byte| matches!(byte, 0 | b' ')).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if !rest.iter().all(|byte| matches!(byte, 0 | b' ')) {
        return None;
    }
    digits.iter().try_fold(0u64, |value, &digit| {
        matches!(digit, b'0'..=b'7').then(|| value.checked_mul(8)?.checked_add(u64::from(digit - b'0')))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_all_their_forms() {
        let cases: &[(&[u8], Option<i64>)] = &[
            (b"0000644\0", Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"77777777", Some(0o77_777_777)),
            (b"0000648\0", None),
            (b"-000644\0", None),
            (b"0644\x000644", None),
            (b"\x80\0\0\0\0\0\x01\0", Some(256)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\x80\0\0\0\x01\0\0\0\0\0\0\0", Some(1 << 56)),
            (b"\x81\0\0\0\0\0\0\0\0\0\0\0", None),
        ];
        for (given, wanted) in cases {
            assert_eq!(number(given), *wanted, "{given:?}");
        }
    }
}
