//! The Debian mirror of this machine, and a way around an update that it is in the middle of.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::Server;

/// The release that most tests build, and its other name; a mirror that keeps copies may have an older state under that.
const NAMES: [&str; 2] = ["trixie", "stable"];

/// Returns the mirror that this machine's apt reads, and the one for security updates, without slashes at their ends.
pub fn debian_mirrors() -> (String, String) {
    let files =
        fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let text: String = files
        .chain([PathBuf::from("/etc/apt/sources.list")])
        .filter_map(|file| fs::read_to_string(file).ok())
        .collect();
    let uris: Vec<&str> = text.split_whitespace().filter(|word| word.starts_with("http")).collect();
    let uris: Vec<&str> = uris.into_iter().filter(|uri| uri.contains("debian") && !uri.contains("snapshot")).collect();
    let main = uris.iter().find(|uri| !uri.contains("security")).copied().unwrap_or("http://ftp.debian.org/debian");
    let main = main.trim_end_matches('/');
    let security = uris.iter().find(|uri| uri.contains("security")).copied();
    let security = security.map_or_else(|| format!("{main}-security"), |uri| uri.trim_end_matches('/').to_owned());
    (main.to_owned(), security)
}

/// Returns the first name of the release under which the mirror has the lists of all architectures as its release file says; the usual
/// name where it has them under none.
///
/// A mirror may be in the middle of an update for days. What is signed, and which packages there are, is as real under the other name.
pub fn whole_suite() -> &'static str {
    static FOUND: OnceLock<&str> = OnceLock::new();
    FOUND.get_or_init(|| {
        let (mirror, _) = debian_mirrors();
        NAMES.into_iter().find(|name| is_whole(&format!("{mirror}/dists/{name}"))).unwrap_or(NAMES[0])
    })
}

/// Returns the address that stands in for the mirror where the release is whole under its other name alone.
pub fn detour() -> Option<String> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        let suite = Some(whole_suite()).filter(|suite| *suite != NAMES[0])?;
        let (mirror, security) = debian_mirrors();
        let server = Server::start(Path::new("/nonexistent"));
        server.forward("/debian/", &format!("{mirror}/"));
        // Whoever names a mirror is taken to have the security updates beside it.
        server.forward("/debian-security/", &format!("{security}/"));
        server.forward(&format!("/debian/dists/{}/", NAMES[0]), &format!("{mirror}/dists/{suite}/"));
        Some(server)
    });
    server.as_ref().map(|server| server.url("/debian"))
}

/// Whether the lists of `main` have the sizes that a suite's release file gives.
fn is_whole(suite: &str) -> bool {
    let release = curl(&["--fail", &format!("{suite}/InRelease")]);
    let sums = release.split_once("\nSHA256:").map_or("", |(_, sums)| sums);
    let wanted: BTreeSet<String> = sums
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let (size, path) = (words.next()?, words.next()?);
            let is_list = path.starts_with("main/binary-") && path.ends_with("/Packages.xz");
            is_list.then(|| format!("{suite}/{path} {size}"))
        })
        .collect();
    let mut words = vec!["--head", "--write-out", "%{url} %header{content-length}\n"];
    words.extend(wanted.iter().filter_map(|line| line.split(' ').next()));
    let heads = curl(&words);
    !wanted.is_empty() && heads.lines().filter(|line| wanted.contains(*line)).count() == wanted.len()
}

fn curl(words: &[&str]) -> String {
    let output = Command::new("curl")
        .args(["--silent", "--location", "--connect-timeout", "5", "--max-time", "60"])
        .args(words)
        .stdin(Stdio::null())
        .output();
    let output = output.unwrap_or_else(|error| panic!("run curl ({error}); `scripts/setup --tests` installs it"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
