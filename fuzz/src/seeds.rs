//! Well-formed inputs, small ones.

pub fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

pub fn deb822() -> Vec<Vec<u8>> {
    texts(&["Package: a\nVersion: 1\n\nPackage: b\nDescription: c\n d\n .\n", "# comment\nA:b\r\n\tc\n\n\n\nD:\n"])
}

pub fn packages() -> Vec<Vec<u8>> {
    texts(&[
        "Package: a\nVersion: 1:2-3\nArchitecture: amd64\nDepends: b (>= 1), c | d\nFilename: pool/a.deb\nSize: 7\n\
         SHA256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\nTask: x, y\n",
        "Package: b\nEssential: yes\nSource: bb (2)\nVersion: 3\nArchitecture: all\nProvides: c (= 1)\n\n",
    ])
}

pub fn releases() -> Vec<Vec<u8>> {
    texts(&["Origin: Debian\nSuite: stable\nCodename: trixie\nDate: Sat, 15 Nov 2025 09:48:19 UTC\n\
         Valid-Until: Sat, 22 Nov 2025 09:48:19 UTC\nAcquire-By-Hash: yes\nArchitectures: all amd64\n\
         Components: main contrib\nSHA256:\n \
         e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0 main/binary-amd64/Packages\n \
         e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 32 main/binary-amd64/Packages.xz\n"])
}

pub fn relations() -> Vec<Vec<u8>> {
    texts(&["a (>= 1:2.3~rc1-4), b | c [amd64 !i386] <!nocheck>, d:any (<< 2), e (= 1)", "a,b|c"])
}

pub fn versions() -> Vec<Vec<u8>> {
    texts(&["1:2.3-4\n1.0~rc1", "0.0.0+dfsg-1~bpo12+1\n0.0.0+dfsg-1", "2a\n2A1"])
}

pub fn signed() -> Vec<Vec<u8>> {
    texts(&[
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nOrigin: Debian\n- - dashed\n-----BEGIN PGP SIGNATURE-----\n\n\
         iHUEARYKAB0WIQSxxxxxxxxxxxxxxxxxxxxxxxxxxxUCZwAAAAAKCRDxxxxxxxxx\n=abcd\n-----END PGP SIGNATURE-----\n",
        "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDMEZwAAABYJKwYBBAHaRw8BAQdAxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n=abcd\n\
         -----END PGP PUBLIC KEY BLOCK-----\n",
    ])
}

pub fn recipes() -> Vec<Vec<u8>> {
    texts(&[
        include_str!("../../examples/debian-minimal.toml"),
        include_str!("../../examples/debian-minbase-tar.toml"),
        include_str!("../../examples/container-squashfs.toml"),
        "edition = 1\n[base]\nrelease = \"13\"\n[[file]]\npath = \"/etc/x\"\ntext = \"y\"\n[[output]]\nformat = \"tar\"\n",
    ])
}

/// A package with every kind of member.
pub fn debs() -> Vec<Vec<u8>> {
    let control = tarball(&[("./control", b"Package: a\nVersion: 1\nArchitecture: all\n")]);
    let mut data = tar::Builder::new(tarball(&[("./usr/share/a", b"text"), ("./etc/a.conf", b"")]));
    for (kind, name, target) in
        [(tar::EntryType::Symlink, "./usr/b", "share/a"), (tar::EntryType::Link, "./c", "./usr/share/a")]
    {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        data.append_link(&mut header, name, target).expect("a link fits");
    }
    let data = data.into_inner().expect("a vector takes all");
    vec![ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control), ("data.tar", &data)])]
}

/// Returns a tar archive without its end, so that more can be put after it.
fn tarball(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(vec![]);
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, *content).expect("a file fits");
    }
    let mut bytes = archive.into_inner().expect("a vector takes all");
    bytes.truncate(bytes.len() - 1024);
    bytes
}

fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, content) in members {
        bytes.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, "100644", content.len()).bytes());
        bytes.extend_from_slice(content);
        if content.len() % 2 == 1 {
            bytes.push(b'\n');
        }
    }
    bytes
}
