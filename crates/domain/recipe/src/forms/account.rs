//! Users, their passwords and keys.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use super::expect;
use crate::shape::{Form, Wrong};

pub static USER: Form = Form {
    what: "a user's name",
    pattern: Some(r"^[a-z_][a-z0-9_-]{0,31}$"),
    check: |text| account("user", text),
    hint: None,
};

pub static GROUP: Form = Form {
    what: "a group's name",
    pattern: Some(r"^[a-z_][a-z0-9_-]{0,31}$"),
    check: |text| account("group", text),
    hint: None,
};

fn account(what: &str, text: &str) -> Result<(), Wrong> {
    let plain = |text: &str| {
        text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
            && text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && text.len() <= 32
    };
    expect(plain(text), || {
        let lower = text.to_lowercase();
        let hint = (lower != text && plain(&lower)).then(|| format!("did you mean `{lower}`?"));
        Wrong::new(format!("`{text}` is not a {what}'s name"))
            .label("expected lowercase letters, digits, `_` and `-`, a letter or `_` first, at most 32")
            .maybe_hint(hint)
    })
}

/// A field of passwd(5).
pub static FIELD: Form = Form {
    what: "text without `:` and line ends",
    pattern: Some(r"^[^:\r\n]*$"),
    check: |text| expect(!text.contains([':', '\n', '\r']), || Wrong::new("a `:` or a line end cannot be in it")),
    hint: None,
};

pub static PASSWORD_HASH: Form = Form {
    what: "a crypt(5) hash such as \"$6$…\"",
    pattern: Some(r"^\$(6|5|y|gy|2[aby])\$\S+$"),
    check: hash,
    hint: None,
};

/// Whether a text is a hash of crypt(5), and no password.
pub fn is_password_hash(text: &str) -> bool {
    hash(text).is_ok()
}

/// crypt(5): the methods that are still worth their name, each with its parts of the right length.
fn hash(text: &str) -> Result<(), Wrong> {
    let how = "make one with `openssl passwd -6` or `mkpasswd`";
    let wrong = |why: &str| Wrong::new("this is not a password hash").label(why.to_owned()).hint(how);
    let mut parts = text.split('$');
    if parts.next() != Some("") {
        return Err(wrong("a hash begins with `$6$` or the like; a password itself must never stand here"));
    }
    let method = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    let crypt = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'/');
    let last = rest.last().copied().unwrap_or_default();
    let length = match method {
        "6" => 86,
        "5" | "y" | "gy" => 43,
        "2a" | "2b" | "2y" => 53,
        "1" => return Err(wrong("MD5 hashes are guessed within hours")),
        _ => return Err(wrong("expected the method `6`, `5`, `y`, `gy` or `2b`")),
    };
    let parts = match method {
        "6" | "5" => rest.len() == 2 || (rest.len() == 3 && rest[0].starts_with("rounds=")),
        "y" | "gy" => rest.len() == 3,
        _ => rest.len() == 2,
    };
    let fine = parts && last.len() == length && crypt(last);
    expect(fine, || wrong(&format!("expected {length} characters after the salt; a part of it is missing")))
}

pub static SSH_KEY: Form = Form {
    what: "a line of authorized_keys(5)",
    pattern: Some(r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-[a-z0-9-]+@openssh\.com) AAAA"),
    check: ssh_key,
    hint: None,
};

static SSH_KINDS: &[&str] = &[
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// The blob names its own kind, so a line that lost a part on its way is found out.
pub fn ssh_key(line: &str) -> Result<(), Wrong> {
    let wrong = |why: &str| Wrong::new("this is not an SSH public key").label(why.to_owned());
    if line.contains("PRIVATE KEY") {
        return Err(wrong("this is a private key; it must never leave its machine").hint("use the `.pub` file"));
    }
    if line.contains(['\n', '\r']) {
        return Err(wrong("expected one line"));
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let Some(at) = words.iter().position(|word| SSH_KINDS.contains(word)) else {
        return Err(wrong("expected a kind such as `ssh-ed25519`, then the key"));
    };
    let (kind, blob) = (words[at], words.get(at + 1).copied().unwrap_or_default());
    let bytes = STANDARD.decode(blob).or_else(|_| STANDARD_NO_PAD.decode(blob)).unwrap_or_default();
    let named = bytes.len() > 4 + kind.len() + 4
        && bytes[..4] == (kind.len() as u32).to_be_bytes()
        && &bytes[4..4 + kind.len()] == kind.as_bytes();
    expect(named, || wrong(&format!("what follows `{kind}` is not such a key")))
}
