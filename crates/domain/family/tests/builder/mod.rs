//! Makes `.deb` archives byte by byte, so that they can be as wrong as a test wants them.

#![allow(dead_code)]

/// A tar stream in the making. Headers are written here and not by a library, which would refuse what hostile ones hold.
#[derive(Default)]
pub struct Tarball(pub Vec<u8>);

/// One header's fields.
pub struct Head<'a> {
    pub name: &'a [u8],
    pub kind: u8,
    pub link: &'a [u8],
    pub mode: u32,
    pub size: u64,
}

impl<'a> Head<'a> {
    pub fn new(name: &'a (impl AsRef<[u8]> + ?Sized), kind: u8) -> Self {
        Self { name: name.as_ref(), kind, link: b"", mode: 0o644, size: 0 }
    }
}

impl Tarball {
    pub fn header(&mut self, head: &Head<'_>) -> &mut Self {
        let mut block = [0u8; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, head.name);
        put(100, format!("{:07o}\0", head.mode).as_bytes());
        put(108, b"0000000\0");
        put(116, b"0000000\0");
        put(124, format!("{:011o}\0", head.size).as_bytes());
        put(136, b"14371573400\0");
        put(148, b"        ");
        put(156, &[head.kind]);
        put(157, head.link);
        put(257, b"ustar\x0000root");
        put(297, b"root");
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&block);
        self
    }

    pub fn dir(&mut self, name: &str) -> &mut Self {
        self.header(&Head { mode: 0o755, ..Head::new(name, b'5') })
    }

    pub fn file(&mut self, name: &(impl AsRef<[u8]> + ?Sized), content: &[u8]) -> &mut Self {
        self.file_mode(name, 0o644, content)
    }

    pub fn file_mode(&mut self, name: &(impl AsRef<[u8]> + ?Sized), mode: u32, content: &[u8]) -> &mut Self {
        self.header(&Head { mode, size: content.len() as u64, ..Head::new(name, b'0') });
        self.content(content)
    }

    pub fn content(&mut self, content: &[u8]) -> &mut Self {
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn symlink(&mut self, name: &str, target: &str) -> &mut Self {
        self.header(&Head { link: target.as_bytes(), mode: 0o777, ..Head::new(name, b'2') })
    }

    pub fn hardlink(&mut self, name: &str, target: &str) -> &mut Self {
        self.header(&Head { link: target.as_bytes(), ..Head::new(name, b'1') })
    }

    /// A pax header or GNU long name before the next one.
    pub fn extension(&mut self, kind: u8, content: &[u8]) -> &mut Self {
        self.header(&Head { size: content.len() as u64, ..Head::new("././@LongLink", kind) });
        self.content(content)
    }

    /// Ends the stream.
    pub fn end(&self) -> Vec<u8> {
        [self.0.as_slice(), &[0; 1024]].concat()
    }
}

/// Returns an ar archive of `members`.
pub fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, content) in members {
        bytes.extend_from_slice(
            format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, "100644", content.len()).as_bytes(),
        );
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(2), b'\n');
    }
    bytes
}

/// A package in the making.
pub struct Package {
    pub name: String,
    /// Lines of `control` after Package, Version and Architecture.
    pub control: String,
    pub architecture: String,
    /// Further files of `control.tar`.
    pub files: Vec<(String, String)>,
    pub data: Tarball,
}

impl Package {
    pub fn new(name: &str) -> Self {
        let control =
            "Maintainer: Nobody <nobody@example.org>\nInstalled-Size: 1\nDescription: made by a test\n".into();
        let mut data = Tarball::default();
        data.dir("./");
        Self { name: name.into(), control, architecture: "amd64".into(), files: Vec::new(), data }
    }

    pub fn control(mut self, lines: &str) -> Self {
        self.control.push_str(lines);
        self
    }

    pub fn architecture(mut self, architecture: &str) -> Self {
        self.architecture = architecture.into();
        self
    }

    pub fn with(mut self, name: &str, text: &str) -> Self {
        self.files.push((name.into(), text.into()));
        self
    }

    pub fn data(mut self, fill: impl FnOnce(&mut Tarball) -> &mut Tarball) -> Self {
        fill(&mut self.data);
        self
    }

    pub fn control_tar(&self) -> Vec<u8> {
        let control =
            format!("Package: {}\nVersion: 1.0\nArchitecture: {}\n{}", self.name, self.architecture, self.control);
        let mut tar = Tarball::default();
        tar.dir("./").file("./control", control.as_bytes());
        for (name, text) in &self.files {
            tar.file_mode(&format!("./{name}"), if name.ends_with("inst") { 0o755 } else { 0o644 }, text.as_bytes());
        }
        tar.end()
    }

    pub fn deb(&self) -> Vec<u8> {
        ar(&[("debian-binary", b"2.0\n"), ("control.tar", &self.control_tar()), ("data.tar", &self.data.end())])
    }
}
