//! What dpkg and apt are told, and what runs afterwards, from made-up control data.

use std::collections::{BTreeMap, BTreeSet};

use kiln_family::deb::install::preinst::{Class, class};
use kiln_family::deb::install::{Phase, configure, extended, hold, status, triggers};
use kiln_family::deb::package::{Control, ControlFile};

fn control(name: &str, more: &str, files: &[(&str, &str)]) -> Control {
    let text = format!("Package: {name}\nVersion: 1.0\nArchitecture: amd64\n{more}");
    let file = |text: &str| ControlFile { mode: 0o755, mtime: 0, bytes: text.as_bytes().to_vec() };
    Control::new(text.as_bytes(), files.iter().map(|(name, text)| ((*name).to_owned(), file(text))).collect()).unwrap()
}

fn judged(name: &str, script: &str) -> (Class, Class) {
    let control = control(name, "", &[("preinst", script)]);
    (class(&control, Phase::Base), class(&control, Phase::Further))
}

#[test]
fn scripts_are_judged_by_what_a_first_installation_runs() {
    use Class::{After, Real};
    let cases: [(&str, &str, (Class, Class)); 14] = [
        ("helper only", "#!/bin/sh\nset -e\ndpkg-maintscript-helper rm_conffile /etc/a 1 -- \"$@\"\n", (After, After)),
        (
            "debhelper's own",
            "#!/bin/sh\n# Automatically added by dh_installinit/13\nchmod +x /etc/init.d/x\n# End automatically added section\n",
            (After, After),
        ),
        (
            "upgrades only",
            "#!/bin/sh\nif [ \"$1\" = upgrade ] && dpkg --compare-versions \"$2\" lt 2; then\n\trm /usr/x\nfi\nexit 0\n",
            (After, After),
        ),
        ("old version only", "#!/bin/sh\nif [ -n \"$2\" ]; then\n  if true; then\n  rm x\n  fi\nfi\n", (After, After)),
        ("upgrade or else", "#!/bin/sh\nif [ \"$1\" = upgrade ]; then\n:\nelse\n rm /usr/x\nfi\n", (After, Real)),
        ("either", "#!/bin/sh\nif [ \"$1\" = upgrade ] || true; then\n rm /usr/x\nfi\n", (After, Real)),
        ("moves", "#!/bin/sh\nmv /etc/a /etc/b\n", (After, Real)),
        ("moves after a word", "#!/bin/sh\ntrue && mv /etc/a /etc/b\n", (After, Real)),
        ("substitutes", "#!/bin/sh\necho $(rm x)\n", (After, Real)),
        ("writes", "#!/bin/sh\necho x > /etc/x\n", (After, Real)),
        ("open quote", "#!/bin/sh\necho 'a\nb'\n", (After, Real)),
        ("perl", "#!/usr/bin/perl\nunlink 'x';\n", (After, Real)),
        ("diverts and renames", "#!/bin/sh\ndpkg-divert --add --rename \\\n  --divert /a.orig /a\n", (Real, Real)),
        ("diverts in place", "#!/bin/sh\ndpkg-divert --add --no-rename --divert /a.orig /a\n", (After, Real)),
    ];
    for (what, script, wanted) in cases {
        assert_eq!(judged("x", script), wanted, "{what}");
    }
    assert_eq!(
        judged("linux-image-6.12-amd64", "#!/bin/sh\nmkdir -p /lib/modules/6\nlinux-run-hooks\n"),
        (After, After)
    );
    assert_eq!(class(&control("x", "", &[]), Phase::Further), Class::Plain);
}

#[test]
fn steps_in_their_order() {
    let first = control("base-passwd", "", &[("preinst", "#!/bin/sh\n")]);
    let (lib, other) = (control("libc6", "Multi-Arch: same\n", &[]), control("aaa", "", &[("preinst", "#!/bin/sh\n")]));
    let (needs, needed) = (control("needs", "Depends: needed (>= 1)\n", &[]), control("needed", "", &[]));
    let real = [(&needs, "/needs.deb".parse().unwrap()), (&needed, "/needed.deb".parse().unwrap())];
    let env = BTreeMap::from([("LC_ALL".to_owned(), "C".to_owned())]);
    let steps = configure::steps(&[&other, &first, &lib], &real, Phase::Base, &env);
    let words = |at: usize| steps[at].argv.join(" ");
    assert_eq!(
        steps.iter().map(|step| step.name.as_str()).collect::<Vec<_>>(),
        [
            "run preinst scripts",
            "unpack packages that prepare the tree first",
            "configure the first packages",
            "configure packages",
        ]
    );
    let script = words(0);
    assert!(script.find("base-passwd.preinst").unwrap() < script.find("aaa.preinst").unwrap(), "{script}");
    assert!(words(1).ends_with("--force-depends --auto-deconfigure --unpack /needed.deb /needs.deb"), "{}", words(1));
    assert!(words(2).ends_with("--force-depends --configure base-passwd libc6:amd64"), "{}", words(2));
    assert_eq!(words(3), "dpkg --force-unsafe-io --force-confdef --force-confold --configure -a");
    assert!(steps.iter().all(|step| step.env["LC_ALL"] == "C" && step.env["DEBIAN_FRONTEND"] == "noninteractive"));
    assert_eq!(configure::steps(&[&lib], &[], Phase::Further, &env).len(), 1);
}

#[test]
fn a_status_survives_reading_and_writing() {
    let text = "Package: a\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\nConffiles:\n /etc/a 0123\n /etc/b 4567\nDescription: one\n two\n .\n three\n\n\
                Package: b\nStatus: install ok installed\nArchitecture: all\nVersion: 2\nDescription: x\n\n";
    assert_eq!(status::merge(text, &[]).unwrap(), text);
    let installed = status::parse(text).unwrap();
    assert_eq!(
        installed.iter().map(|one| (one.name(), one.is_unpacked())).collect::<Vec<_>>(),
        [("a", true), ("b", true)]
    );
}

#[test]
fn trigger_files_without_packages_stay_as_they_are() {
    let existing = triggers::Existing {
        file: "/a b\n".into(),
        named: [("x".to_owned(), "y/noawait\n".to_owned())].into(),
        unincorp: "x -\n".into(),
    };
    let files = triggers::files(&existing, &[]).unwrap();
    let texts: Vec<_> =
        files.iter().map(|file| (file.path.to_string(), String::from_utf8_lossy(&file.bytes).into_owned())).collect();
    let at = |name: &str| format!("/var/lib/dpkg/triggers/{name}");
    assert_eq!(
        texts,
        [(at("File"), "/a b\n".into()), (at("Unincorp"), "x -\n".into()), (at("x"), "y/noawait\n".into())]
    );
}

#[test]
fn automatic_packages_are_those_nobody_asked_for() {
    let existing = "Package: old\nArchitecture: amd64\nAuto-Installed: 1\n\nPackage: b\nArchitecture: amd64\nAuto-Installed: 1\n\n";
    let asked = BTreeSet::from([("b", "amd64")]);
    let packages = [("a", "all"), ("b", "amd64"), ("b", "i386")];
    let text = extended::states(existing, packages, &asked, "amd64").unwrap();
    assert_eq!(
        text,
        "Package: a\nArchitecture: amd64\nAuto-Installed: 1\n\nPackage: b\nArchitecture: i386\nAuto-Installed: 1\n\n\
         Package: old\nArchitecture: amd64\nAuto-Installed: 1\n\n"
    );
}

#[test]
fn programs_are_held_at_their_paths() {
    let held = hold::holds(&["update-initramfs".into(), "/usr/bin/x".into(), "start-stop-daemon".into()]);
    let paths: Vec<_> = held.iter().map(|hold| hold.path.to_string()).collect();
    assert_eq!(
        paths,
        ["/usr/sbin/policy-rc.d", "/usr/sbin/start-stop-daemon", "/usr/sbin/update-initramfs", "/usr/bin/x"]
    );
    assert!(held[0].script.ends_with("exit 101\n") && held[2].script.ends_with("exit 0\n"));
}
