//! OpenPGP keys as one armoured block (RFC 9580, section 6.2), whatever files they came in: apt reads the first block of a file alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";

/// Returns the keys of files that are armoured or binary. One that is armoured already stays as it is; so does a key of another
/// kind (PEM). An error is the number of the file that is not what it looks like.
pub fn joined(files: &[Vec<u8>]) -> Result<String, usize> {
    if let [only] = files
        && let Ok(text) = str::from_utf8(only)
        && text.contains("-----BEGIN")
        && text.matches(BEGIN).count() < 2
    {
        return Ok(text.to_owned());
    }
    let mut packets = Vec::new();
    for (number, file) in files.iter().enumerate() {
        match str::from_utf8(file) {
            Ok(text) if text.contains(BEGIN) => packets.extend(blocks(text).ok_or(number)?),
            Ok(text) if text.contains("-----BEGIN") => return Err(number),
            _ => packets.extend_from_slice(file),
        }
    }
    Ok(block(&packets))
}

/// Returns what the blocks of a text hold; none where one is not whole.
fn blocks(text: &str) -> Option<Vec<u8>> {
    let mut packets = Vec::new();
    for part in text.split(BEGIN).skip(1) {
        let (inner, _) = part.split_once(END)?;
        // Headers have a colon, which is in no base64; the last line may be a checksum.
        let lines = inner.lines().map(str::trim).filter(|line| !line.contains(':') && !line.starts_with('='));
        let body: String = lines.collect();
        packets.extend(STANDARD.decode(body).ok()?);
    }
    Some(packets)
}

fn block(packets: &[u8]) -> String {
    let encoded = STANDARD.encode(packets);
    let mut text = format!("{BEGIN}\n\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, left) = rest.split_at(rest.len().min(64));
        text += line;
        text.push('\n');
        rest = left;
    }
    text + END + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_any_form_become_one_block() {
        let (first, second) =
            (b"\x99first".to_vec(), b"\x99second, and longer than one line of base64 is: sixty-four letters".to_vec());
        let headed = block(&first)
            .replacen("\n\n", "\nVersion: \nComment: of somebody\n\n", 1)
            .replace(END, "=abcd\n-----END PGP PUBLIC KEY BLOCK-----");
        let both = block(&[first.clone(), second.clone()].concat());
        let twice = format!("{headed}{}", block(&second));
        assert_eq!(joined(&[headed.clone().into_bytes()]).as_deref(), Ok(&*headed));
        assert_eq!(joined(&[first.clone()]), Ok(block(&first)));
        assert_eq!(joined(&[headed.into_bytes(), second]).as_deref(), Ok(&*both));
        assert_eq!(joined(&[twice.into_bytes()]).as_deref(), Ok(&*both));
        assert_eq!(joined(&[first.clone(), format!("{BEGIN}\n\n#\n{END}\n").into_bytes()]), Err(1));
        let pem = b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n".to_vec();
        assert!(joined(&[pem.clone()]).is_ok_and(|text| text.as_bytes() == pem));
        assert_eq!(joined(&[first, pem]), Err(1));
    }
}
