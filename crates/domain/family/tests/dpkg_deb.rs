//! Archives made by the real `dpkg-deb` with every compressor it has, read by kiln.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use kiln_family::deb::package::{Deb, Interest, Kind, Limits};

/// Makes a package whose tree holds a long name, links and a file of many xz blocks.
fn build(folder: &std::path::Path, arguments: &[&str]) -> Vec<u8> {
    let tree = folder.join("tree");
    let long = tree.join("usr/share").join("d".repeat(120)).join("e".repeat(120));
    fs::create_dir_all(&long).unwrap();
    fs::create_dir_all(tree.join("DEBIAN")).unwrap();
    fs::create_dir_all(tree.join("etc")).unwrap();
    fs::write(tree.join("DEBIAN/control"), "Package: real\nVersion: 2:1.0-1\nArchitecture: all\nMaintainer: Nobody <n@example.org>\nMulti-Arch: foreign\nInstalled-Size: 40000\nDescription: a test\n of several lines\n").unwrap();
    fs::write(tree.join("DEBIAN/conffiles"), "/etc/real.conf\nremove-on-upgrade /etc/old.conf\n").unwrap();
    fs::write(tree.join("DEBIAN/triggers"), "# comment\ninterest-noawait /usr/share/x\nactivate ldconfig\n").unwrap();
    fs::write(tree.join("etc/real.conf"), "a = 1\n").unwrap();
    fs::write(long.join("file"), "deep").unwrap();
    fs::write(tree.join("usr/share/big"), (0..8_000_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect::<Vec<u8>>())
        .unwrap();
    let _ = fs::remove_file(tree.join("usr/share/link"));
    symlink("big", tree.join("usr/share/link")).unwrap();
    let _ = fs::remove_file(tree.join("usr/share/same"));
    fs::hard_link(tree.join("usr/share/big"), tree.join("usr/share/same")).unwrap();
    let deb = folder.join("real.deb");
    let built =
        Command::new("dpkg-deb").args(["--root-owner-group"]).args(arguments).arg("-b").arg(&tree).arg(&deb).output();
    let built = built.expect("`dpkg-deb` is needed: apt-get install dpkg");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    fs::read(deb).unwrap()
}

#[test]
fn every_compressor_of_dpkg_deb() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, threads) in [
        (&["-Znone"][..], 1),
        (&["-Zgzip", "-z1"], 1),
        (&["-Zxz", "-z0"], 1),
        (&["-Zxz", "-z0"], 4),
        (&["-Zzstd", "-z1"], 1),
    ] {
        let bytes = build(folder.path(), arguments);
        let mut deb = Deb::open(&bytes[..], Limits { threads, ..Limits::default() }).unwrap();
        let control = deb.control().clone();
        assert_eq!((control.name(), control.version(), control.filed_as()), ("real", "2:1.0-1", "real".to_owned()));
        assert_eq!(control.stanza.get("description"), Some("a test\n of several lines"));
        let conffiles = control.conffiles().unwrap();
        assert_eq!(conffiles, [("/etc/real.conf".parse().unwrap(), false), ("/etc/old.conf".parse().unwrap(), true)]);
        let triggers: Vec<_> = control.triggers().unwrap().into_iter().map(|t| (t.interest, t.waits, t.name)).collect();
        assert_eq!(
            triggers,
            [
                (Interest::Interested, false, "/usr/share/x".to_owned()),
                (Interest::Activates, true, "ldconfig".to_owned())
            ]
        );
        let (mut names, mut total) = (Vec::new(), 0);
        while let Some(member) = deb.next_member().unwrap() {
            assert_eq!((member.uid, member.gid, member.user.as_slice()), (0, 0, b"root".as_slice()));
            match &member.kind {
                Kind::Symlink(target) => assert_eq!(
                    (member.path.to_string().as_str(), target.as_slice()),
                    ("/usr/share/link", b"big".as_slice())
                ),
                Kind::Hardlink(target) => assert_eq!(target.to_string(), "/usr/share/big"),
                _ => {}
            }
            names.push(member.path.to_string());
            loop {
                let length = deb.chunk().unwrap().len();
                total += length;
                if length == 0 {
                    break;
                }
            }
        }
        deb.finish().unwrap();
        assert_eq!(total, 32_000_000 + 4 + 6, "{arguments:?}");
        assert_eq!(names.len(), 11, "{names:?}");
        assert!(names.contains(&format!("/usr/share/{}/{}/file", "d".repeat(120), "e".repeat(120))), "{names:?}");
    }
}
