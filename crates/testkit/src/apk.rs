//! Alpine packages and indexes from a few lines, signed with RSA keys that are made here.

use std::io::Write as _;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::SeedableRng as _;
use rsa::pkcs8::{EncodePublicKey as _, LineEnding};
use rsa::{Pkcs1v15Sign, RsaPrivateKey};
use sha1::{Digest as _, Sha1};
use sha2::{Sha256, Sha512};

/// Modification time of all that is built, in seconds since 1970.
const TIME: u64 = 1_700_000_000;

/// A key of a repository.
#[derive(Clone, Debug)]
pub struct ApkKey {
    /// Its file name, as `test.rsa.pub`.
    pub name: String,
    key: RsaPrivateKey,
}

/// How a signature is made: `RSA`, `RSA256`, `RSA512`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApkHash {
    Sha1,
    Sha256,
    Sha512,
}

impl ApkKey {
    /// Returns a key called `name`; there are two, which are the same each time.
    ///
    /// # Panics
    /// When the key cannot be made.
    pub fn new(name: &str, second: bool) -> Self {
        static KEYS: [OnceLock<RsaPrivateKey>; 2] = [OnceLock::new(), OnceLock::new()];
        let make = || {
            let mut chance = rand::rngs::StdRng::seed_from_u64(u64::from(second));
            RsaPrivateKey::new(&mut chance, 2048).expect("a key can be made")
        };
        Self { name: name.to_owned(), key: KEYS[usize::from(second)].get_or_init(make).clone() }
    }

    /// Returns the public key as it lies in `/etc/apk/keys`.
    ///
    /// # Panics
    /// When the key cannot be written.
    pub fn pem(&self) -> String {
        self.key.to_public_key().to_public_key_pem(LineEnding::LF).expect("the key can be written")
    }

    /// Returns the stream of signatures that comes before what it signs.
    ///
    /// # Panics
    /// When signing fails.
    pub fn sign(&self, signed: &[u8], hash: ApkHash) -> Vec<u8> {
        let (word, prefix, sum): (_, &[u8], Vec<u8>) = match hash {
            ApkHash::Sha1 => {
                ("RSA", b"\x30\x21\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00\x04\x14", Sha1::digest(signed).to_vec())
            }
            ApkHash::Sha256 => (
                "RSA256",
                b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20",
                Sha256::digest(signed).to_vec(),
            ),
            ApkHash::Sha512 => (
                "RSA512",
                b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40",
                Sha512::digest(signed).to_vec(),
            ),
        };
        let scheme = Pkcs1v15Sign { hash_len: Some(sum.len()), prefix: prefix.into() };
        let signature = self.key.sign(scheme, &sum).expect("the key can sign");
        let mut tar = Tar::default();
        tar.file(&format!(".SIGN.{word}.{}", self.name), 0o644, &signature, None);
        gzip(&tar.cut())
    }
}

/// A package to be built.
#[derive(Clone, Debug)]
pub struct Apk {
    name: String,
    version: String,
    arch: String,
    fields: Vec<(String, String)>,
    control: Vec<(String, Vec<u8>)>,
    content: Vec<Content>,
}

#[derive(Clone, Debug)]
enum Content {
    Dir(String, u32),
    File(String, u32, Vec<u8>),
    Symlink(String, String),
}

impl Apk {
    /// Begins a package for every architecture.
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            arch: "noarch".to_owned(),
            fields: Vec::new(),
            control: Vec::new(),
            content: Vec::new(),
        }
    }

    #[must_use]
    pub fn arch(mut self, arch: &str) -> Self {
        arch.clone_into(&mut self.arch);
        self
    }

    /// Adds a field as `.PKGINFO` calls it, as in `("provides", "cmd:a=1")`.
    #[must_use]
    pub fn field(mut self, key: &str, value: &str) -> Self {
        self.fields.push((key.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn depends(self, on: &str) -> Self {
        self.field("depend", on)
    }

    /// Adds a script, as `post-install`.
    #[must_use]
    pub fn script(mut self, kind: &str, text: &str) -> Self {
        self.control.push((format!(".{kind}"), text.as_bytes().to_vec()));
        self
    }

    /// Adds a directory, without a slash at either end.
    #[must_use]
    pub fn dir(mut self, path: &str, mode: u32) -> Self {
        self.content.push(Content::Dir(path.to_owned(), mode));
        self
    }

    #[must_use]
    pub fn file(mut self, path: &str, mode: u32, bytes: impl AsRef<[u8]>) -> Self {
        self.content.push(Content::File(path.to_owned(), mode, bytes.as_ref().to_vec()));
        self
    }

    #[must_use]
    pub fn symlink(mut self, path: &str, target: &str) -> Self {
        self.content.push(Content::Symlink(path.to_owned(), target.to_owned()));
        self
    }

    /// Returns the name an archive gives the file.
    pub fn file_name(&self) -> String {
        format!("{}-{}.apk", self.name, self.version)
    }

    fn data(&self) -> Vec<u8> {
        let mut tar = Tar::default();
        for content in &self.content {
            match content {
                Content::Dir(path, mode) => tar.add(b'5', &format!("{path}/"), *mode, b"", "", None),
                Content::File(path, mode, bytes) => tar.file(path, *mode, bytes, Some(&hex(&Sha1::digest(bytes)))),
                Content::Symlink(path, target) => {
                    tar.add(b'2', path, 0o777, b"", target, Some(&hex(&Sha1::digest(target.as_bytes()))));
                }
            }
        }
        gzip(&tar.finish())
    }

    fn size(&self) -> usize {
        let size = |content: &Content| if let Content::File(_, _, bytes) = content { bytes.len() } else { 0 };
        self.content.iter().map(size).sum()
    }

    fn control(&self, data: &[u8]) -> Vec<u8> {
        let mut info = format!("# made by a test\npkgname = {}\npkgver = {}\n", self.name, self.version);
        info += &format!("pkgdesc = {} of a test\nsize = {}\narch = {}\n", self.name, self.size(), self.arch);
        self.fields.iter().for_each(|(key, value)| info += &format!("{key} = {value}\n"));
        info += &format!("datahash = {}\n", hex(&Sha256::digest(data)));
        let mut tar = Tar::default();
        tar.file(".PKGINFO", 0o644, info.as_bytes(), None);
        self.control.iter().for_each(|(name, bytes)| tar.file(name, 0o755, bytes, None));
        gzip(&tar.cut())
    }

    /// Returns the package's bytes, unsigned or signed.
    pub fn build(&self, key: Option<(&ApkKey, ApkHash)>) -> Vec<u8> {
        let data = self.data();
        let control = self.control(&data);
        let signatures = key.map(|(key, hash)| key.sign(&control, hash)).unwrap_or_default();
        [signatures, control, data].concat()
    }

    /// Returns the block that an `APKINDEX` has of the package as it is built with this key.
    pub fn entry(&self, key: Option<(&ApkKey, ApkHash)>) -> String {
        let data = self.data();
        let control = self.control(&data);
        let mut text =
            format!("C:Q1{}\nP:{}\nV:{}\n", STANDARD.encode(Sha1::digest(&control)), self.name, self.version);
        let size = self.build(key).len();
        text += &format!("A:{}\nS:{size}\nI:{}\nT:{} of a test\nt:{TIME}\n", self.arch, self.size(), self.name);
        let letters = [("provider_priority", 'k'), ("depend", 'D'), ("provides", 'p'), ("install_if", 'i')];
        for (key, letter) in letters {
            let values: Vec<&str> =
                self.fields.iter().filter(|(name, _)| name == key).map(|(_, value)| value.as_str()).collect();
            if !values.is_empty() {
                text += &format!("{letter}:{}\n", values.join(" "));
            }
        }
        text + "\n"
    }
}

/// Returns an `APKINDEX.tar.gz` of packages, unsigned or signed.
pub fn apk_index(description: &str, packages: &[Apk], key: Option<(&ApkKey, ApkHash)>) -> Vec<u8> {
    let list: String = packages.iter().map(|package| package.entry(key)).collect();
    let mut tar = Tar::default();
    tar.file("DESCRIPTION", 0o644, description.as_bytes(), None);
    tar.file("APKINDEX", 0o644, list.as_bytes(), None);
    let index = gzip(&tar.finish());
    let signatures = key.map(|(key, hash)| key.sign(&index, hash)).unwrap_or_default();
    [signatures, index].concat()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(bytes).and_then(|()| out.finish()).expect("writing to memory does not fail")
}

/// A tar archive in the making, with pax records as Alpine writes them.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn file(&mut self, name: &str, mode: u32, bytes: &[u8], sum: Option<&str>) {
        self.add(b'0', name, mode, bytes, "", sum);
    }

    fn add(&mut self, kind: u8, name: &str, mode: u32, bytes: &[u8], link: &str, sum: Option<&str>) {
        if let Some(sum) = sum {
            let record = record("APK-TOOLS.checksum.SHA1", sum);
            self.block(b'x', name, 0o644, record.as_bytes(), "");
        }
        self.block(kind, name, mode, bytes, link);
    }

    fn block(&mut self, kind: u8, name: &str, mode: u32, bytes: &[u8], link: &str) {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_mode(mode);
        header.set_size(bytes.len() as u64);
        header.set_mtime(TIME);
        header.set_uid(0);
        header.set_gid(0);
        header.set_username("root").and_then(|()| header.set_groupname("root")).expect("root is short");
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    /// Returns the archive without its end mark, so that another may follow.
    fn cut(self) -> Vec<u8> {
        self.0
    }

    fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// Returns a pax record, whose length counts its own digits.
fn record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let length = (1..).find(|&digits| (rest + digits).to_string().len() == digits).map_or(0, |digits| rest + digits);
    format!("{length} {key}={value}\n")
}
