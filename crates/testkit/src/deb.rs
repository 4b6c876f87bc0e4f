//! Debian packages from a few lines.

use std::collections::BTreeSet;
use std::io::Write as _;

use md5::{Digest as _, Md5};

/// Modification time of all that is built, in seconds since 1970.
const TIME: u64 = 1_700_000_000;

/// How the members of a package are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pack {
    Plain,
    Gz,
    Xz,
    Zst,
}

/// A package to be built.
#[derive(Clone, Debug)]
pub struct Deb {
    name: String,
    version: String,
    architecture: String,
    fields: Vec<(String, String)>,
    content: Vec<Content>,
    control: Vec<(String, u32, Vec<u8>)>,
    pack: Pack,
    /// Control file and bytes of a package that was not built here.
    found: Option<(String, Vec<u8>)>,
}

#[derive(Clone, Debug)]
enum Content {
    File { path: String, mode: u32, bytes: Vec<u8> },
    Symlink { path: String, target: String },
    Hardlink { path: String, target: String },
    Dir { path: String, mode: u32 },
}

impl Deb {
    /// Begins a package for every architecture.
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: "all".to_owned(),
            fields: Vec::new(),
            content: Vec::new(),
            control: Vec::new(),
            pack: Pack::Xz,
            found: None,
        }
    }

    /// Takes a package that somebody else built, with its control file.
    ///
    /// # Panics
    /// When the control file lacks name, version or architecture.
    pub fn found(control: &str, bytes: Vec<u8>) -> Self {
        let field = |name: &str| {
            let lines = control.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            lines.unwrap_or_else(|| panic!("a control file with `{name}`")).to_owned()
        };
        let deb = Self::new(&field("Package"), &field("Version")).arch(&field("Architecture"));
        Self { found: Some((format!("{}\n", control.trim_end()), bytes)), ..deb }
    }

    #[must_use]
    pub fn arch(mut self, architecture: &str) -> Self {
        architecture.clone_into(&mut self.architecture);
        self
    }

    /// Adds a field to the control file, as in `("Provides", "mail-transport-agent")`.
    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn depends(self, on: &str) -> Self {
        self.field("Depends", on)
    }

    #[must_use]
    pub fn essential(self) -> Self {
        self.field("Essential", "yes").field("Priority", "required")
    }

    #[must_use]
    pub fn pack(mut self, pack: Pack) -> Self {
        self.pack = pack;
        self
    }

    #[must_use]
    pub fn file(mut self, path: &str, mode: u32, bytes: impl AsRef<[u8]>) -> Self {
        self.content.push(Content::File { path: path.to_owned(), mode, bytes: bytes.as_ref().to_vec() });
        self
    }

    /// Adds a file that dpkg treats as configuration.
    #[must_use]
    pub fn conffile(mut self, path: &str, bytes: impl AsRef<[u8]>) -> Self {
        let line = format!("{path}\n");
        match self.control.iter_mut().find(|(name, ..)| name == "conffiles") {
            Some((_, _, text)) => text.extend_from_slice(line.as_bytes()),
            None => self.control.push(("conffiles".to_owned(), 0o644, line.into_bytes())),
        }
        self.file(path, 0o644, bytes)
    }

    #[must_use]
    pub fn symlink(mut self, path: &str, target: &str) -> Self {
        self.content.push(Content::Symlink { path: path.to_owned(), target: target.to_owned() });
        self
    }

    /// Adds a further name of a file added before.
    #[must_use]
    pub fn hardlink(mut self, path: &str, target: &str) -> Self {
        self.content.push(Content::Hardlink { path: path.to_owned(), target: target.to_owned() });
        self
    }

    #[must_use]
    pub fn dir(mut self, path: &str, mode: u32) -> Self {
        self.content.push(Content::Dir { path: path.to_owned(), mode });
        self
    }

    /// Adds a maintainer script: `("postinst", "#!/bin/sh\n…")`.
    #[must_use]
    pub fn script(mut self, name: &str, text: &str) -> Self {
        self.control.push((name.to_owned(), 0o755, text.as_bytes().to_vec()));
        self
    }

    pub(crate) fn architecture(&self) -> &str {
        &self.architecture
    }

    /// Returns the name an archive gives the file; a colon of an epoch is left out.
    pub fn file_name(&self) -> String {
        let version = self.version.split_once(':').map_or(self.version.as_str(), |(_, rest)| rest);
        format!("{}_{version}_{}.deb", self.name, self.architecture)
    }

    /// Returns the control file, as it also begins the entry in `Packages`.
    pub fn control(&self) -> String {
        if let Some((control, _)) = &self.found {
            return control.clone();
        }
        let mut text = format!("Package: {}\nVersion: {}\n", self.name, self.version);
        text.push_str(&format!("Architecture: {}\n", self.architecture));
        text.push_str("Maintainer: Nobody <nobody@invalid.example>\n");
        for (name, value) in &self.fields {
            text.push_str(&format!("{name}: {value}\n"));
        }
        text + &format!("Description: {} of a test\n", self.name)
    }

    /// Returns the package's bytes.
    pub fn build(&self) -> Vec<u8> {
        if let Some((_, bytes)) = &self.found {
            return bytes.clone();
        }
        let mut out = b"!<arch>\n".to_vec();
        let ending = self.pack.ending();
        member(&mut out, "debian-binary", b"2.0\n");
        member(&mut out, &format!("control.tar{ending}"), &self.pack.pack(&self.control_tar()));
        member(&mut out, &format!("data.tar{ending}"), &self.pack.pack(&self.data_tar()));
        out
    }

    fn control_tar(&self) -> Vec<u8> {
        let mut tar = Tar::new();
        tar.dir("./", 0o755);
        tar.file("./control", 0o644, self.control().as_bytes());
        tar.file("./md5sums", 0o644, self.sums().as_bytes());
        for (name, mode, bytes) in &self.control {
            tar.file(&format!("./{name}"), *mode, bytes);
        }
        tar.finish()
    }

    fn sums(&self) -> String {
        let sum = |content: &Content| match content {
            Content::File { path, bytes, .. } => {
                let sum: String = Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
                Some(format!("{sum}  {}\n", path.trim_start_matches('/')))
            }
            _ => None,
        };
        self.content.iter().filter_map(sum).collect()
    }

    fn data_tar(&self) -> Vec<u8> {
        let mut tar = Tar::new();
        tar.dir("./", 0o755);
        for content in &self.content {
            match content {
                Content::Dir { path, mode } => {
                    tar.parents(path);
                    tar.dir(&format!(".{path}/"), *mode);
                }
                Content::File { path, mode, bytes } => {
                    tar.parents(path);
                    tar.file(&format!(".{path}"), *mode, bytes);
                }
                Content::Symlink { path, target } => {
                    tar.parents(path);
                    tar.link(tar::EntryType::Symlink, &format!(".{path}"), target);
                }
                Content::Hardlink { path, target } => {
                    tar.parents(path);
                    tar.link(tar::EntryType::Link, &format!(".{path}"), &format!(".{target}"));
                }
            }
        }
        tar.finish()
    }
}

/// Adds a member of an `ar` archive.
fn member(out: &mut Vec<u8>, name: &str, bytes: &[u8]) {
    let size = bytes.len();
    out.extend_from_slice(format!("{name:<16}{TIME:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, "100644").as_bytes());
    out.extend_from_slice(bytes);
    if size % 2 == 1 {
        out.push(b'\n');
    }
}

impl Pack {
    pub(crate) const fn ending(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Gz => ".gz",
            Self::Xz => ".xz",
            Self::Zst => ".zst",
        }
    }

    /// Compresses.
    pub fn pack(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Plain => bytes.to_vec(),
            Self::Gz => {
                let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                out.write_all(bytes).and_then(|()| out.finish()).expect("writing to memory does not fail")
            }
            Self::Xz => {
                let mut out = liblzma::write::XzEncoder::new(Vec::new(), 1);
                out.write_all(bytes).and_then(|()| out.finish()).expect("writing to memory does not fail")
            }
            Self::Zst => zstd::encode_all(bytes, 1).expect("writing to memory does not fail"),
        }
    }
}

struct Tar {
    out: tar::Builder<Vec<u8>>,
    dirs: BTreeSet<String>,
}

impl Tar {
    fn new() -> Self {
        Self { out: tar::Builder::new(Vec::new()), dirs: BTreeSet::new() }
    }

    /// Adds the folders above `path` that are not there yet.
    fn parents(&mut self, path: &str) {
        for (at, _) in path.match_indices('/').skip(1) {
            self.dir(&format!(".{}/", &path[..at]), 0o755);
        }
    }

    fn dir(&mut self, name: &str, mode: u32) {
        if self.dirs.insert(name.to_owned()) {
            self.append(header(tar::EntryType::Directory, mode, 0), name, &[]);
        }
    }

    fn file(&mut self, name: &str, mode: u32, bytes: &[u8]) {
        self.append(header(tar::EntryType::Regular, mode, bytes.len()), name, bytes);
    }

    fn link(&mut self, kind: tar::EntryType, name: &str, target: &str) {
        let mut header = header(kind, 0o777, 0);
        header.set_link_name_literal(target).expect("targets of tests are short");
        self.append(header, name, &[]);
    }

    /// Adds an entry under its very name; the crate would drop the `./` that packages have.
    fn append(&mut self, mut header: tar::Header, name: &str, bytes: &[u8]) {
        let field = &mut header.as_gnu_mut().expect("it is made as one").name;
        field.get_mut(..name.len()).expect("names of tests are short").copy_from_slice(name.as_bytes());
        header.set_cksum();
        self.out.append(&header, bytes).expect("writing to memory does not fail");
    }

    fn finish(self) -> Vec<u8> {
        self.out.into_inner().expect("writing to memory does not fail")
    }
}

fn header(kind: tar::EntryType, mode: u32, size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size as u64);
    header.set_mtime(TIME);
    header.set_uid(0);
    header.set_gid(0);
    header.set_username("root").and_then(|()| header.set_groupname("root")).expect("root is short");
    header
}
