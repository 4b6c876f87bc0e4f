//! A certificate authority of one's own, made by openssl: a root, one between, and certificates of servers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A root that clients may trust, and what it lets others sign.
#[derive(Debug)]
pub struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    pub fn new() -> Self {
        let this = Self { folder: tempfile::tempdir().expect("a folder") };
        this.openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout root.key -out root.pem -days 30 -subj /CN=root");
        let between = "basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign\n";
        this.signed("between", "root", between, "-days 30");
        this
    }

    /// Returns the file of the root, which clients are to trust.
    pub fn root(&self) -> PathBuf {
        self.path("root.pem")
    }

    /// Makes a certificate of a server on this machine and returns its files: the chain, and the key.
    pub fn server(&self, name: &str) -> (PathBuf, PathBuf) {
        self.server_for(name, "-days 30")
    }

    /// The same for a time that openssl is told of: `-days 30`, `-not_after …`.
    pub fn server_for(&self, name: &str, time: &str) -> (PathBuf, PathBuf) {
        let names =
            "basicConstraints=CA:false\nextendedKeyUsage=serverAuth\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n";
        self.signed(name, "between", names, time);
        let chain = self.path(&format!("{name}-chain.pem"));
        let both = [name, "between"].map(|name| fs::read_to_string(self.path(&format!("{name}.pem"))).expect("made"));
        fs::write(&chain, both.concat()).expect("written");
        (chain, self.path(&format!("{name}.key")))
    }

    fn signed(&self, name: &str, by: &str, extensions: &str, time: &str) {
        fs::write(self.path("extensions"), extensions).expect("written");
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"
        ));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA {by}.pem -CAkey {by}.key -CAcreateserial -extfile extensions -out {name}.pem {time}"
        ));
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new(self.folder.path()).join(name)
    }

    fn openssl(&self, words: &str) {
        let mut command = Command::new("openssl");
        command.args(words.split(' ')).current_dir(self.folder.path()).stdin(Stdio::null());
        let done = command.output().expect("openssl is there: scripts/setup --tests");
        assert!(done.status.success(), "openssl {words}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}
