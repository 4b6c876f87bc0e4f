//! Host paths as text: joined and related without looking at the disk.

/// Returns the folder of `path`; empty for a bare name.
pub fn folder(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) => "/",
        Some(at) => &path[..at],
        None => "",
    }
}

/// Returns `folder/path` without needless parts; an absolute `path` stands for itself.
pub fn join(folder: &str, path: &str) -> String {
    if path.starts_with('/') || folder.is_empty() { tidy(path) } else { tidy(&format!("{folder}/{path}")) }
}

/// Returns `path` as seen from `folder`; absolute paths stay as they are unless both are absolute and `path` is inside.
pub fn relative(folder: &str, path: &str) -> String {
    let (folder, path) = (tidy(folder), tidy(path));
    if folder.starts_with('/') != path.starts_with('/') {
        return path;
    }
    let parts = |text: &str| text.split('/').filter(|part| !matches!(*part, "" | ".")).map(str::to_owned).collect();
    let (from, to): (Vec<String>, Vec<String>) = (parts(&folder), parts(&path));
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    if path.starts_with('/') && shared < from.len() {
        return path;
    }
    let up = std::iter::repeat_n("..".to_owned(), from.len() - shared);
    let found: Vec<String> = up.chain(to[shared..].iter().cloned()).collect();
    if found.is_empty() { ".".into() } else { found.join("/") }
}

/// Drops empty and `.` parts, and a name with the `..` after it.
fn tidy(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !matches!(*part, "" | ".")) {
        match (part, parts.last()) {
            ("..", Some(&last)) if last != ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_join_and_relate() {
        assert_eq!(join("examples", "../common/a.toml"), "common/a.toml");
        assert_eq!(join("", "./a"), "a");
        assert_eq!(join("/x/y", "/etc/motd"), "/etc/motd");
        let cases = [
            ("examples", "common/motd", "../common/motd"),
            ("examples", "examples/files/motd", "files/motd"),
            ("", "motd", "motd"),
            ("/r", "/r/motd", "motd"),
            ("/r", "/etc/motd", "/etc/motd"),
            ("a", "a", "."),
        ];
        for (from, to, wanted) in cases {
            assert_eq!(relative(from, to), wanted, "{from} {to}");
        }
    }
}
