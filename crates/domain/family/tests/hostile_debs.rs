//! Archives that mean harm, one named case each; what becomes of them is written in `corpus/hostile-debs/refused.txt`.
//! Those that are contained rather than refused are unpacked by the engine's tests.

mod builder;

use std::error::Error as _;
use std::io::Write as _;

use builder::{Head, Package, Tarball, ar};
use kiln_family::deb::package::{BadPackage, Deb, Limits, fuzz};

type Case = (&'static str, fn() -> Vec<u8>);

/// Each case by its name.
const CASES: [Case; 39] = [
    ("not-an-archive", || b"#!/bin/sh\nrm -rf /\n".to_vec()),
    ("empty", Vec::new),
    ("ar-header-damaged", || [ar(&[("debian-binary", b"2.0\n")]), vec![b'x'; 60]].concat()),
    ("ar-size-negative", || ar_with_size("-1")),
    ("ar-size-beyond-the-end", || ar_with_size("9999999999")),
    ("format-version-3", || members(b"3.0\n", &good().control_tar(), &good().data.end())),
    ("control-missing", || ar(&[("debian-binary", b"2.0\n")])),
    ("data-missing", || ar(&[("debian-binary", b"2.0\n"), ("control.tar", &good().control_tar())])),
    ("data-before-control", || ar(&[("debian-binary", b"2.0\n"), ("data.tar", &good().data.end())])),
    ("control-twice", || {
        let control = good().control_tar();
        ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control), ("control.tar.gz", &control)])
    }),
    ("data-twice", || {
        let (control, data) = (good().control_tar(), good().data.end());
        ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control), ("data.tar", &data), ("data.tar.xz", &data)])
    }),
    ("unknown-member-between", || ar(&[("debian-binary", b"2.0\n"), ("surprise", b"")])),
    ("unknown-compression", || ar(&[("debian-binary", b"2.0\n"), ("control.tar.lz4", b"")])),
    ("truncated-in-ar", || cut(good().deb(), 700)),
    ("truncated-in-xz", || xz_data(|xz| xz.truncate(xz.len() / 2))),
    ("truncated-without-end-mark", || {
        members(b"2.0\n", &good().control_tar(), &good().data(|tar| tar.file("./a", b"x")).data.0)
    }),
    ("xz-bytes-flipped", || {
        xz_data(|xz| {
            let middle = xz.len() / 2;
            xz[middle] ^= 0x55
        })
    }),
    ("xz-with-garbage-after", || xz_data(|xz| xz.extend_from_slice(b"garbage!"))),
    ("tar-with-garbage-after", || {
        members(b"2.0\n", &good().control_tar(), &[good().data.end(), vec![7; 512]].concat())
    }),
    ("tar-checksum-wrong", || {
        let mut data = good().data(|tar| tar.file("./a", b"x")).data.end();
        data[512] = b'z';
        members(b"2.0\n", &good().control_tar(), &data)
    }),
    ("dot-dot", || data(|tar| tar.file("./../../etc/passwd", b"root::0:0::/:/bin/sh\n"))),
    ("dot-dot-in-pax", || data(|tar| tar.extension(b'x', b"26 path=usr/../../evil.sh\n").file("./a", b"x"))),
    ("dot-dot-in-long-name", || data(|tar| tar.extension(b'L', b"../evil\0").file("./a", b"x"))),
    ("hardlink-outside", || data(|tar| tar.hardlink("./passwd", "../../../etc/passwd"))),
    ("hardlink-to-what-others-own", || data(|tar| tar.hardlink("./passwd", "/etc/shadow"))),
    ("hardlink-to-itself", || data(|tar| tar.hardlink("./a", "./a"))),
    ("symlink-to-nothing", || data(|tar| tar.symlink("./a", ""))),
    ("device-node", || data(|tar| tar.header(&Head::new("./sda", b'4')))),
    ("character-device", || data(|tar| tar.header(&Head::new("./mem", b'3')))),
    ("sparse", || data(|tar| tar.header(&Head::new("./hole", b'S')))),
    ("unknown-kind", || data(|tar| tar.header(&Head::new("./what", b'V')))),
    ("name-too-long", || data(|tar| tar.extension(b'L', &[b'a'; 256]).file("./a", b"x"))),
    ("name-with-nul", || data(|tar| tar.extension(b'x', b"15 path=a\0bcde\n").file("./a", b"x"))),
    ("name-with-line-break", || data(|tar| tar.file("./a\n/etc/passwd", b"x"))),
    ("file-twice", || data(|tar| tar.file("./a", b"x").file("./a", b"y"))),
    ("bomb", || data(|tar| tar.header(&Head { size: 2 << 30, ..Head::new("./zeros", b'0') }))),
    ("root-is-a-link", || data(|tar| tar.symlink("./", "/etc"))),
    ("control-file-in-a-folder", || {
        let mut control = Tarball::default();
        control.dir("./").file("./../../etc/cron.d/x", b"* * * * * root true\n");
        members(b"2.0\n", &control.end(), &good().data.end())
    }),
    ("package-named-like-a-path", || Package::new("../../etc/cron.d/x").deb()),
];

fn good() -> Package {
    Package::new("good")
}

fn members(version: &[u8], control: &[u8], data: &[u8]) -> Vec<u8> {
    ar(&[("debian-binary", version), ("control.tar", control), ("data.tar", data)])
}

fn data(fill: impl FnOnce(&mut Tarball) -> &mut Tarball) -> Vec<u8> {
    good().data(fill).deb()
}

fn ar_with_size(size: &str) -> Vec<u8> {
    format!("!<arch>\n{:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n2.0\n", "debian-binary", 0, 0, 0, "100644").into_bytes()
}

fn cut(mut bytes: Vec<u8>, length: usize) -> Vec<u8> {
    bytes.truncate(length);
    bytes
}

fn xz_data(spoil: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
    let noise: Vec<u8> = (0..40_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    encoder.write_all(&good().data(|tar| tar.file("./noise", &noise)).data.end()).unwrap();
    let mut xz = encoder.finish().unwrap();
    spoil(&mut xz);
    ar(&[("debian-binary", b"2.0\n"), ("control.tar", &good().control_tar()), ("data.tar.xz", &xz)])
}

/// Reads a whole archive and returns its names.
fn read(bytes: &[u8]) -> Result<Vec<String>, BadPackage> {
    let mut deb = Deb::open(bytes, Limits::default())?;
    let mut names = Vec::new();
    while let Some(member) = deb.next_member()? {
        names.push(member.path.to_string());
        while !deb.chunk()?.is_empty() {}
    }
    deb.finish()?;
    Ok(names)
}

fn chain(error: &BadPackage) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    text
}

#[test]
fn hostile_archives_are_refused_by_name() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../corpus/hostile-debs/refused.txt");
    let mut got = String::new();
    for (name, make) in CASES {
        let error = read(&make()).expect_err(name);
        got.push_str(&format!("{name}: {}\n", chain(&error)));
    }
    if std::env::var_os("KILN_BLESS").is_some() {
        std::fs::write(golden, &got).unwrap();
    }
    assert_eq!(got, std::fs::read_to_string(golden).unwrap_or_default(), "KILN_BLESS=1 accepts the new text");
}

#[test]
fn too_many_names_are_refused() {
    let deb = data(|tar| tar.file("./a", b"").file("./b", b"").file("./c", b""));
    let mut deb = Deb::open(&deb[..], Limits { names: 3, ..Limits::default() }).unwrap();
    let error = std::iter::from_fn(|| deb.next_member().transpose()).find_map(Result::err);
    assert_eq!(error.map(|error| error.to_string()), Some("holds more than 3 names".to_owned()));
}

#[test]
fn what_looks_odd_but_is_fine() {
    let (control, good_data) = (good().control_tar(), good().data(|tar| tar.file("./a", b"x")).data.end());
    let cases: [(&str, Vec<u8>, &[&str]); 6] = [
        (
            "later members",
            ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control), ("data.tar", &good_data), ("sig", b"odd")]),
            &["/", "/a"],
        ),
        (
            "underscored members",
            ar(&[
                ("debian-binary", b"2.0\n"),
                ("_x", b"1"),
                ("control.tar", &control),
                ("_y", b""),
                ("data.tar", &good_data),
            ]),
            &["/", "/a"],
        ),
        ("minor version", members(b"2.9\nmore\n", &control, &good_data), &["/", "/a"]),
        ("absolute names", data(|tar| tar.file("/etc/absolute", b"x")), &["/", "/etc/absolute"]),
        ("not UTF-8", data(|tar| tar.file(b"./caf\xe9".as_slice(), b"x")), &["/", "/caf\\xe9"]),
        ("directory twice", data(|tar| tar.dir("./usr/").dir("./usr/")), &["/", "/usr", "/usr"]),
    ];
    for (name, deb, wanted) in cases {
        assert_eq!(read(&deb).unwrap(), wanted, "{name}");
    }
}

proptest::proptest! {
    /// Any damage to a good archive is an error or another good archive, never a panic.
    #[test]
    fn damage_never_panics(at in 0usize..2600, byte: u8, length in 0usize..2600) {
        let mut deb = data(|tar| tar.extension(b'x', b"12 path=abc\n").file("./a", b"content").symlink("./l", "a"));
        let at = at % deb.len();
        deb[at] = byte;
        fuzz(&deb);
        deb.truncate(length);
        fuzz(&deb);
    }
}
