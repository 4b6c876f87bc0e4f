//! gpg with a home of its own and a clock that stands still.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// When everything in these tests is signed: 2024-01-10 00:00:00 UTC.
pub const T0: i64 = 1_704_844_800;

/// Keys are made this long before.
const KEY_AGE: i64 = 5 * 86_400;

pub const fn day(days: i64) -> i64 {
    days * 86_400
}

/// Writes a date as release files do.
pub fn date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap().strftime("%a, %d %b %Y %H:%M:%S UTC").to_string()
}

pub struct Gpg {
    home: TempDir,
}

impl Gpg {
    pub fn new() -> Self {
        // The agent's socket must have a short path.
        let home = tempfile::Builder::new().prefix("g").tempdir_in("/tmp").unwrap();
        fs::set_permissions(home.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        Self { home }
    }

    fn path(&self) -> &Path {
        self.home.path()
    }

    fn run(&self, at: i64, arguments: &[&str], stdin: &[u8]) -> Output {
        let clock = format!("{at}!");
        let mut command = Command::new("gpg");
        command.env("GNUPGHOME", self.path()).args([
            "--batch",
            "--yes",
            "--quiet",
            "--no-tty",
            "--passphrase",
            "",
            "--pinentry-mode",
            "loopback",
        ]);
        command.args([
            "--faked-system-time",
            &clock,
            "--allow-weak-digest-algos",
            "--allow-weak-key-signatures",
            "--always-trust",
            "--expert",
        ]);
        command.args(arguments);
        run(command, stdin)
    }

    fn must(&self, at: i64, arguments: &[&str], stdin: &[u8]) -> Vec<u8> {
        let output = self.run(at, arguments, stdin);
        assert!(output.status.success(), "gpg {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Makes a key and returns its fingerprint.
    pub fn key(&self, name: &str, kind: &str, usage: &str, life: &str) -> String {
        let user = format!("{name} <{name}@example.org>");
        if let Some(bits) = kind.strip_prefix("dsa").or_else(|| kind.strip_prefix("rsa1").map(|_| "1024")) {
            let kind = if kind.starts_with("dsa") { "DSA" } else { "RSA" };
            let script = format!(
                "%no-protection\nKey-Type: {kind}\nKey-Length: {bits}\nKey-Usage: {usage}\nName-Real: {name}\nName-Email: {name}@example.org\nExpire-Date: 0\n%commit\n"
            );
            self.must(T0 - KEY_AGE, &["--full-generate-key"], script.as_bytes());
        } else {
            self.must(T0 - KEY_AGE, &["--quick-generate-key", &user, kind, usage, life], b"");
        }
        self.fingerprint(&user)
    }

    fn fingerprint(&self, user: &str) -> String {
        let listing = self.must(T0, &["--with-colons", "--list-keys", user], b"");
        let listing = String::from_utf8(listing).unwrap();
        let line = listing.lines().find(|line| line.starts_with("fpr:")).unwrap();
        line.split(':').nth(9).unwrap().to_owned()
    }

    pub fn add_subkey(&self, key: &str, kind: &str, usage: &str, life: &str) {
        self.must(T0 - KEY_AGE, &["--quick-add-key", key, kind, usage, life], b"");
    }

    pub fn expire(&self, key: &str, at: i64, life: &str) {
        self.must(at, &["--quick-set-expire", key, life], b"");
    }

    pub fn revoke(&self, key: &str) {
        let certificate = fs::read_to_string(self.path().join(format!("openpgp-revocs.d/{key}.rev"))).unwrap();
        // gpg puts a colon before the block so that nobody revokes by accident.
        self.must(T0, &["--import"], certificate.replace(":-----BEGIN", "-----BEGIN").as_bytes());
    }

    /// Takes the right to sign away from a key. Not a batch job: gpg ignores the answers to an edit's questions in one.
    pub fn certify_only(&self, key: &str) {
        let clock = format!("{}!", T0 - day(1));
        let mut command = Command::new("gpg");
        command.env("GNUPGHOME", self.path()).args([
            "--no-tty",
            "--yes",
            "--quiet",
            "--expert",
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            "",
        ]);
        command.args(["--faked-system-time", &clock, "--command-fd", "0", "--edit-key", key, "change-usage"]);
        let output = run(command, b"s\nq\nsave\n");
        assert!(output.status.success(), "gpg: {}", String::from_utf8_lossy(&output.stderr));
    }

    pub fn export(&self, keys: &[&str]) -> Vec<u8> {
        self.must(T0, &[&["--export"], keys].concat(), b"")
    }

    /// Returns keys as gpg kept them for itself before 2.1, with notes on trust between the packets.
    pub fn ring(&self, keys: &[&str]) -> Vec<u8> {
        let path = self.path().join("ring.gpg");
        let ring = format!("gnupg-ring:{}", path.display());
        self.must(T0, &["--no-default-keyring", "--primary-keyring", &ring, "--import"], &self.export(keys));
        fs::read(path).unwrap()
    }

    pub fn export_armored(&self, key: &str) -> Vec<u8> {
        self.must(T0, &["--armor", "--export", key], b"")
    }

    pub fn clearsign(&self, text: &str, keys: &[&str], options: &[&str]) -> Vec<u8> {
        let mut arguments = options.to_vec();
        keys.iter().for_each(|key| arguments.extend(["--local-user", key]));
        arguments.push("--clearsign");
        self.must(T0, &arguments, text.as_bytes())
    }

    pub fn detach(&self, text: &str, key: &str, armor: bool) -> Vec<u8> {
        let armor = if armor { "--armor" } else { "--no-armor" };
        self.must(T0, &[armor, "--local-user", key, "--detach-sign"], text.as_bytes())
    }

    /// Whether gpgv believes a clear-signed file, or a signature over `data`; its exit status alone is 0 for a revoked key too.
    pub fn gpgv(&self, keyring: &[u8], file: &[u8], data: Option<&[u8]>) -> bool {
        let (keys, signed, plain) = (self.path().join("keys.gpg"), self.path().join("file"), self.path().join("data"));
        fs::write(&keys, keyring).unwrap();
        fs::write(&signed, file).unwrap();
        let mut command = Command::new("gpgv");
        command.env("GNUPGHOME", self.path()).args(["--status-fd", "1", "--keyring"]).arg(&keys).arg(&signed);
        if let Some(data) = data {
            fs::write(&plain, data).unwrap();
            command.arg(&plain);
        }
        let output = run(command, b"");
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("] GOODSIG ")
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let mut command = Command::new("gpgconf");
        command.env("GNUPGHOME", self.path()).args(["--kill", "gpg-agent"]);
        run(command, b"");
    }
}

fn run(mut command: Command, stdin: &[u8]) -> Output {
    use std::io::Write as _;
    command.env("LC_ALL", "C").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; it comes with Debian's packages `gpg` and `gpgv`"));
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    child.wait_with_output().unwrap()
}

/// Fetches a suite's release file from the mirror that this machine's apt uses.
pub fn fetch_in_release(suite: &str) -> Vec<u8> {
    let files =
        fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let text: String = files.filter_map(|file| fs::read_to_string(file).ok()).collect();
    let is_mirror = |word: &&str| {
        word.starts_with("http") && word.trim_end_matches('/').ends_with("/debian") && !word.contains("snapshot")
    };
    let mirror = text.split_whitespace().find(is_mirror);
    let url =
        format!("{}/dists/{suite}/InRelease", mirror.unwrap_or("http://ftp.debian.org/debian").trim_end_matches('/'));
    let mut command = Command::new("curl");
    command.args(["-sSfL", "--retry", "3", &url]);
    let output = run(command, b"");
    assert!(output.status.success(), "fetch `{url}`: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
