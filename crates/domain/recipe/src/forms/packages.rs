//! Packages, repositories and their keys.

use kiln_model::Digest;

use super::expect;
use crate::shape::{Form, Wrong};

/// A package request.
pub static PACKAGE: Form = Form {
    what: "a package: `name`, `name=version`, `name/suite`, `name:arch` or `task^`",
    pattern: Some(r"^[a-z0-9][a-z0-9+.-]+(:[a-z0-9-]+)?(=[A-Za-z0-9.+:~-]+|/[a-z0-9.+-]+|\^)?$"),
    check: package,
    hint: None,
};

pub static PACKAGE_NAME: Form = Form {
    what: "the name of a package",
    pattern: Some(r"^[a-z0-9][a-z0-9+.-]+$"),
    check: |text| {
        let (name, rest) = split(text);
        name_of(name)?;
        expect(rest.is_empty(), || Wrong::new(format!("`{text}` is more than a name")).hint(format!("only `{name}`")))
    },
    hint: None,
};

/// Returns a request's name and what follows it: `=1.2`, `/sid`, `:arm64`, `^`.
pub fn split(request: &str) -> (&str, &str) {
    request.split_at(request.find(['=', '/', ':', '^']).unwrap_or(request.len()))
}

fn package(text: &str) -> Result<(), Wrong> {
    let (name, rest) = split(text);
    name_of(name)?;
    let after_arch = rest.strip_prefix(':').map_or(rest, |rest| &rest[rest.find(['=', '/']).unwrap_or(rest.len())..]);
    let word = |text: &str, more: &[u8]| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
    };
    let arch = &rest[..rest.len() - after_arch.len()];
    let fine = (arch.is_empty() || word(&arch[1..], b"-"))
        && match after_arch.split_at_checked(1) {
            None => after_arch.is_empty(),
            Some(("=", version)) => word(version, b".+:~-"),
            Some(("/", suite)) => word(suite, b".+-"),
            Some(("^", "")) => true,
            _ => false,
        };
    expect(fine, || {
        Wrong::new(format!("`{text}` is not a package"))
            .label("expected `name`, `name=version`, `name/suite`, `name:arch` or `task^`")
    })
}

fn name_of(name: &str) -> Result<(), Wrong> {
    let fine = name.len() >= 2
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+.-".contains(&b))
        && name.as_bytes()[0].is_ascii_alphanumeric();
    expect(fine, || {
        let lower = name.to_lowercase();
        let hint = if name.contains(char::is_whitespace) {
            let all: Vec<String> = name.split_whitespace().map(|name| format!("\"{name}\"")).collect();
            Some(format!("each by itself: {}", all.join(", ")))
        } else {
            (lower != name && name_of(&lower).is_ok()).then(|| format!("did you mean `{lower}`?"))
        };
        Wrong::new(format!("`{name}` is not the name of a package"))
            .label("expected lowercase letters, digits, `+`, `-` and `.`")
            .maybe_hint(hint)
    })
}

pub static SUITE: Form = Form {
    what: "a suite such as \"trixie-backports\"",
    pattern: Some(r"^[A-Za-z0-9./_-]+$"),
    check: |text| {
        let fine = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"./_-".contains(&b));
        expect(fine && !text.is_empty() && !text.contains(".."), || Wrong::new(format!("`{text}` is not a suite")))
    },
    hint: None,
};

pub static COMPONENT: Form = Form {
    what: "a component such as \"main\"",
    pattern: Some(r"^[A-Za-z0-9][A-Za-z0-9/_-]*$"),
    check: |text| {
        let fine = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_-".contains(&b));
        expect(fine && !text.is_empty(), || Wrong::new(format!("`{text}` is not a component")))
    },
    hint: None,
};

pub static URI: Form = Form {
    what: "an address such as \"http://ftp.debian.org/debian\"",
    pattern: Some(r"^(https?://[^\s/@]+(/\S*)?|file:///\S+)$"),
    check: |text| {
        let rest = ["http://", "https://", "file:///"].iter().find_map(|scheme| text.strip_prefix(scheme));
        let fine = rest.is_some_and(|rest| !rest.is_empty()) && !text.contains(char::is_whitespace);
        let host = rest.filter(|_| !text.starts_with("file:")).and_then(|rest| rest.split(['/', '?', '#']).next());
        expect(host.is_none_or(|host| !host.contains('@')), || {
            // It would be written into the lock, the image and the documents beside it.
            Wrong::new("an address in a recipe has no user or password")
                .hint("leave them out here, and give the whole address in the environment as `KILN_MIRROR_NAME`, where NAME is the distribution or the repository")
        })?;
        expect(fine, || {
            let hint = (!text.contains("://") && !text.is_empty()).then(|| format!("did you mean `http://{text}`?"));
            Wrong::new(format!("`{text}` is not an address"))
                .label("expected `http://…`, `https://…` or `file:///…`")
                .maybe_hint(hint)
        })
    },
    hint: None,
};

/// What a single file is downloaded from.
pub static URL: Form = Form {
    what: "the address of a file, such as \"https://example.org/firmware.bin\"",
    pattern: Some(r"^https?://[^\s/@]+/\S+$"),
    check: |text| {
        let rest = ["http://", "https://"].iter().find_map(|scheme| text.strip_prefix(scheme));
        let parts = rest.and_then(|rest| rest.split_once('/'));
        expect(!parts.is_some_and(|(host, _)| host.contains('@')), || {
            // It would be written into the lock and the documents beside it.
            Wrong::new("an address in a recipe has no user or password")
                .hint("put the file beside the recipe instead, and name it by `source`")
        })?;
        let fine = parts.is_some_and(|(host, path)| !host.is_empty() && !path.is_empty());
        expect(fine && !text.contains(char::is_whitespace), || {
            Wrong::new(format!("`{text}` is not the address of a file"))
                .label("expected `http://HOST/PATH` or `https://HOST/PATH`")
        })
    },
    hint: None,
};

pub static SHA256: Form = Form {
    what: "a SHA-256 digest of 64 hexadecimal digits",
    pattern: Some(r"^[0-9A-Fa-f]{64}$"),
    check: |text| {
        expect(text.parse::<Digest>().is_ok(), || {
            Wrong::new(format!("`{text}` is not a SHA-256 digest"))
                .label("expected 64 hexadecimal digits, as `sha256sum` prints them")
        })
    },
    hint: None,
};

pub static FINGERPRINT: Form = Form {
    what: "a key's fingerprint of 40 or 64 hexadecimal digits",
    pattern: Some(r"^[0-9A-Fa-f ]{40,80}$"),
    check: |text| {
        let digits: String = text.split_whitespace().collect();
        let fine = matches!(digits.len(), 40 | 64) && digits.bytes().all(|b| b.is_ascii_hexdigit());
        expect(fine, || {
            Wrong::new(format!("`{text}` is not a fingerprint"))
                .label("expected 40 or 64 hexadecimal digits; short key ids can be forged")
        })
    },
    hint: None,
};

pub static ARMOUR: Form = Form {
    what: "an armoured public key",
    pattern: None,
    check: |text| {
        expect(text.contains("-----BEGIN PGP PUBLIC KEY BLOCK-----"), || {
            Wrong::new("this is not an armoured public key").hint("name a file instead: key = \"archive.gpg\"")
        })
    },
    hint: None,
};
