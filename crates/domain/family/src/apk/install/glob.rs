//! Globs of directories: `*` and `?` stand for what is between slashes, `[a-z]` and `[!a-z]` for one of some.

/// Whether a whole path fits. A leading dot is only met by a dot.
pub(super) fn matches(glob: &str, path: &str) -> bool {
    let (globs, parts): (Vec<&str>, Vec<&str>) = (glob.split('/').collect(), path.split('/').collect());
    globs.len() == parts.len()
        && globs.iter().zip(&parts).all(|(glob, part)| {
            let hidden = part.starts_with('.') && !glob.starts_with('.');
            !hidden && part_matches(glob.as_bytes(), part.as_bytes())
        })
}

/// Goes back to the last `*` only: an earlier one never has to take more.
fn part_matches(glob: &[u8], part: &[u8]) -> bool {
    let (mut at, mut from, mut star) = (0, 0, None);
    while from < part.len() {
        if glob.get(at) == Some(&b'*') {
            star = Some((at + 1, from));
            at += 1;
        } else if let Some(length) = one(&glob[at.min(glob.len())..], part[from]) {
            (at, from) = (at + length, from + 1);
        } else if let Some((after, taken)) = star {
            star = Some((after, taken + 1));
            (at, from) = (after, taken + 1);
        } else {
            return false;
        }
    }
    glob[at.min(glob.len())..].iter().all(|&byte| byte == b'*')
}

/// Returns the length of what stands for one byte at the beginning of a glob, if it does.
fn one(glob: &[u8], byte: u8) -> Option<usize> {
    match glob {
        [b'?', ..] => Some(1),
        [b'\\', escaped, ..] => (*escaped == byte).then_some(2),
        [b'[', rest @ ..] => match class(rest, byte) {
            Some((hit, length)) => hit.then_some(length + 1),
            None => (byte == b'[').then_some(1),
        },
        [plain, ..] => (*plain == byte).then_some(1),
        [] => None,
    }
}

/// Whether a byte is in a class, and how long that is; none where it has no end.
fn class(text: &[u8], byte: u8) -> Option<(bool, usize)> {
    let negative = matches!(text.first(), Some(b'!' | b'^'));
    let start = usize::from(negative);
    let end = start + 1 + text.get(start + 1..)?.iter().position(|&one| one == b']')?;
    let (mut hit, mut at) = (false, start);
    while at < end {
        if at + 2 < end && text[at + 1] == b'-' {
            hit |= (text[at]..=text[at + 2]).contains(&byte);
            at += 3;
        } else {
            hit |= text[at] == byte;
            at += 1;
        }
    }
    Some((hit != negative, end + 1))
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn globs_stay_between_slashes() {
        let good = [
            ("/bin", "/bin"),
            ("/lib/modules/*", "/lib/modules/6.1"),
            ("/a/*/c", "/a/b/c"),
            ("/a?", "/ab"),
            ("/[a-c]x", "/bx"),
            ("/[!a]", "/b"),
            ("/a*b*", "/axxbyy"),
            ("/*", "/a"),
        ];
        good.iter().for_each(|(glob, path)| assert!(matches(glob, path), "{glob} {path}"));
        let bad = [
            ("/bin", "/bin/x"),
            ("/lib/*", "/lib/a/b"),
            ("/*", "/.a"),
            ("/[a-c]", "/d"),
            ("/a", "/ab"),
            ("/[", "/a"),
            ("/?", "/"),
        ];
        bad.iter().for_each(|(glob, path)| assert!(!matches(glob, path), "{glob} {path}"));
    }
}
