//! What must be known of a URL here: what may be shown of it, and the file a `file:` URL names.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// Returns a URL without credentials, for people and logs.
pub fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => url.to_owned(),
    }
}

/// Returns the path of a `file:` URL (`file:/srv/x`, `file:///srv/x`).
pub(crate) fn file(url: &str) -> Option<PathBuf> {
    let rest = url.strip_prefix("file:")?;
    let path = rest.strip_prefix("//localhost").or(rest.strip_prefix("//")).unwrap_or(rest);
    path.starts_with('/').then(|| PathBuf::from(unescape(path)))
}

/// Returns the `file:` URL of an absolute path, whatever its name holds.
pub fn file_url(path: &Path) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~+".contains(&byte);
    let text = |&byte: &u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    format!("file://{}", path.as_os_str().as_bytes().iter().map(text).collect::<String>())
}

/// Undoes `%20` and its like; what is no such escape stays.
fn unescape(text: &str) -> OsString {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = if *first == b'%' { tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok()) } else { None };
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_never_shown() {
        for (url, wanted) in [
            ("http://mirror.example/debian", "http://mirror.example/debian"),
            ("https://user:secret@mirror.example:8080/a@b", "https://mirror.example:8080/a@b"),
            ("https://us@er:se@cret@mirror.example", "https://mirror.example"),
            ("https://mirror.example?who=a@b", "https://mirror.example?who=a@b"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(shown(url), wanted);
        }
    }

    #[test]
    fn every_path_has_its_url() {
        for name in [&b"/srv/a b"[..], b"/a%20b/x", b"/100%", b"/?#@:", b"/\xc3\xa4\xff", b"/g++_1.0~rc1_amd64.deb"] {
            let path = PathBuf::from(OsString::from_vec(name.to_vec()));
            assert_eq!(file(&file_url(&path)), Some(path));
        }
        assert_eq!(file_url(Path::new("/a%20b/x_1.0.deb")), "file:///a%2520b/x_1.0.deb");
    }

    #[test]
    fn file_urls_name_files() {
        for (url, wanted) in [
            ("file:/srv/x", Some("/srv/x")),
            ("file:///srv/a%20b%zz", Some("/srv/a b%zz")),
            ("file://localhost/srv", Some("/srv")),
            ("file:srv", None),
            ("http://srv/x", None),
        ] {
            assert_eq!(file(url), wanted.map(PathBuf::from), "{url}");
        }
    }
}
