//! Packages and indexes: members, sums and signatures, compared with openssl, gzip and tar.

use std::fs;
use std::process::Command;

use kiln_family::apk::error::BadArchive;
use kiln_family::apk::trust::Error;
use kiln_family::apk::{Archive, Checksum, Index, Keys, Limits, Package};
use kiln_family::deb::package::Kind;
use kiln_testkit::{Apk, ApkHash, ApkKey, apk_index};

pub fn sample() -> Apk {
    Apk::new("busybox", "1.36.1-r2")
        .arch("x86_64")
        .field("license", "GPL-2.0-only")
        .field("triggers", "/bin /usr/bin /lib/modules/*")
        .field("replaces", "old")
        .depends("so:libc.musl-x86_64.so.1")
        .field("provides", "/bin/sh cmd:busybox=1.36.1-r2")
        .script("post-install", "#!/bin/sh\nexit 0\n")
        .script("trigger", "#!/bin/sh\nexit 0\n")
        .dir("bin", 0o755)
        .file("bin/busybox", 0o755, "\x7fELF")
        .symlink("bin/sh", "/bin/busybox")
        .dir("tmp", 0o1777)
        .file("etc/securetty", 0o640, "console\n")
}

fn keys(key: &ApkKey) -> Keys {
    let mut keys = Keys::default();
    keys.add(&key.name, &key.pem()).unwrap();
    keys
}

#[test]
fn a_package_is_read_and_verified() {
    let key = ApkKey::new("test@example-1.rsa.pub", false);
    for hash in [ApkHash::Sha1, ApkHash::Sha256, ApkHash::Sha512] {
        let bytes = sample().build(Some((&key, hash)));
        let package = Package::open(&bytes, Limits::default()).unwrap();
        assert_eq!(package.verify(&keys(&key)), Ok(key.name.clone()));
        assert_eq!(package.info.full_name(), "busybox-1.36.1-r2");
        assert_eq!(package.scripts.keys().copied().collect::<Vec<_>>(), ["post-install", "trigger"]);
        let mut files = package.files();
        let mut told = Vec::new();
        while let Some(file) = files.next_file().unwrap() {
            let content = files.content().unwrap();
            if let (Kind::File(_), Some(sum)) = (&file.member.kind, &file.checksum) {
                assert!(sum.fits(&content), "{}", file.member.path);
            }
            told.push(format!("{} {:o}", file.member.path, file.member.mode));
        }
        assert_eq!(told, ["/bin 755", "/bin/busybox 755", "/bin/sh 777", "/tmp 1777", "/etc/securetty 640"]);
    }
}

#[test]
fn an_index_vouches_for_its_packages() {
    let key = ApkKey::new("test.rsa.pub", false);
    let bytes = apk_index("v3.20-1", &[sample()], Some((&key, ApkHash::Sha1)));
    let (index, signer) = Index::verified(&bytes, &keys(&key)).unwrap();
    assert_eq!((index.description.as_str(), signer.as_str()), ("v3.20-1", "test.rsa.pub"));
    let entry = index.entries().next().unwrap();
    let package = sample().build(None);
    let package = Package::open(&package, Limits::default()).unwrap();
    assert!(package.is(&entry.checksum.unwrap()) && package.identity == entry.checksum.unwrap());
    assert_eq!(package.verify(&keys(&key)), Err(Error::Unsigned));
}

#[test]
fn what_is_not_trusted_says_why() {
    let (key, other) = (ApkKey::new("test.rsa.pub", false), ApkKey::new("other.rsa.pub", true));
    let bytes = apk_index("", &[sample()], Some((&key, ApkHash::Sha1)));
    let refused = |bytes: &[u8], keys: &Keys| Index::verified(bytes, keys).unwrap_err().to_string();
    assert_eq!(refused(&bytes, &keys(&other)), "signed by the unknown key `test.rsa.pub`; known are `other.rsa.pub`");
    let mut forged = Keys::default();
    forged.add("test.rsa.pub", &other.pem()).unwrap();
    assert_eq!(refused(&bytes, &forged), "the signature of key `test.rsa.pub` does not fit");
    assert_eq!(refused(&apk_index("", &[sample()], None), &keys(&key)), "it is not signed");
    let more = [bytes.as_slice(), &apk_index("", &[sample()], None)].concat();
    assert_eq!(refused(&more, &keys(&key)), "the signature of key `test.rsa.pub` does not fit");
    for bad in ["../x.rsa.pub", "a/b", "", ".hidden", "a\nb", "a\\b"] {
        assert_eq!(Keys::default().add(bad, &key.pem()), Err(Error::KeyName(bad.to_owned())));
    }
    assert!(matches!(Keys::default().add("a.rsa.pub", "nonsense"), Err(Error::Key { .. })));
}

#[test]
fn damage_is_refused() {
    let bytes = sample().build(None);
    let refused = |bytes: &[u8]| Package::open(bytes, Limits::default()).unwrap_err();
    assert!(matches!(refused(b"!<arch>\n"), BadArchive::NotGzip));
    assert!(matches!(refused(&bytes[..40]), BadArchive::Truncated { .. }));
    assert!(matches!(refused(&bytes[..bytes.len() - 1]), BadArchive::DataHash { .. }));
    let more = [bytes.as_slice(), b"more"].concat();
    assert!(matches!(refused(&more), BadArchive::DataHash { .. }));
    let small = Limits { control: 100, ..Limits::default() };
    assert!(Package::open(&bytes, small).is_err());
}

/// Runs a program in a folder and returns what it says.
fn run(folder: &std::path::Path, words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).current_dir(folder).output();
    let output = output.unwrap_or_else(|error| panic!("this test needs `{}`: {error}", words[0]));
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn openssl_gzip_and_tar_agree() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    let key = ApkKey::new("test.rsa.pub", false);
    put("key.pem", key.pem().as_bytes());
    for (hash, word) in [(ApkHash::Sha1, "-sha1"), (ApkHash::Sha256, "-sha256"), (ApkHash::Sha512, "-sha512")] {
        let bytes = sample().build(Some((&key, hash)));
        let archive = Archive::split(&bytes, 1 << 20).unwrap();
        let before = bytes.len() - archive.control.len() - archive.data.len();
        put("signature.gz", &bytes[..before]);
        put("control.gz", archive.control);
        put("whole.apk", &bytes);
        run(folder.path(), &["sh", "-c", "tar -xzOf signature.gz > signature 2>&-"]);
        let said = run(
            folder.path(),
            &["openssl", "dgst", word, "-verify", "key.pem", "-signature", "signature", "control.gz"],
        );
        assert_eq!(said.trim(), "Verified OK");
        let listed = run(folder.path(), &["tar", "-tzf", "whole.apk"]);
        let names: Vec<&str> = listed.lines().collect();
        assert_eq!(
            names[1..],
            [".PKGINFO", ".post-install", ".trigger", "bin/", "bin/busybox", "bin/sh", "tmp/", "etc/securetty"]
        );
        let sum = run(folder.path(), &["sha1sum", "control.gz"]);
        assert_eq!(Checksum::from_hex(&sum[..40]).unwrap(), Package::open(&bytes, Limits::default()).unwrap().identity);
    }
}

#[test]
fn a_signature_of_openssl_is_believed() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &["openssl", "genrsa", "-out", "private.pem", "2048"]);
    run(folder.path(), &["openssl", "rsa", "-in", "private.pem", "-pubout", "-out", "made.rsa.pub"]);
    let bytes = sample().build(None);
    let archive = Archive::split(&bytes, 1 << 20).unwrap();
    fs::write(folder.path().join("control.gz"), archive.control).unwrap();
    let name = ".SIGN.RSA.made.rsa.pub";
    run(folder.path(), &["openssl", "dgst", "-sha1", "-sign", "private.pem", "-out", name, "control.gz"]);
    run(folder.path(), &["sh", "-c", &format!("tar --format=ustar -cf signature.tar {name} && gzip signature.tar")]);
    let signed = [fs::read(folder.path().join("signature.tar.gz")).unwrap(), bytes.clone()].concat();
    let mut keys = Keys::default();
    keys.add("made.rsa.pub", &fs::read_to_string(folder.path().join("made.rsa.pub")).unwrap()).unwrap();
    let package = Package::open(&signed, Limits::default()).unwrap();
    assert_eq!(package.verify(&keys), Ok("made.rsa.pub".to_owned()));
}
