//! What the kit makes is read by the tools it is made for.

use std::fs;
use std::path::Path;
use std::process::Command;

use kiln_testkit::{Archive, Deb, Key, Pack, Server};

/// Runs a tool and returns what it says; the tool is part of a Debian package named in the message.
fn run(tool: &str, package: &str, args: &[&str]) -> String {
    let output = Command::new(tool).args(args).env("LC_ALL", "C").output();
    let output = output.unwrap_or_else(|error| panic!("run `{tool}` (package {package}): {error}"));
    assert!(output.status.success(), "{tool} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn demo() -> Deb {
    Deb::new("hello", "1:1.0-1")
        .arch("amd64")
        .depends("libc6 (>= 2)")
        .file("/usr/bin/hello", 0o4755, "hello\n")
        .symlink("/usr/bin/hi", "hello")
        .hardlink("/usr/bin/hallo", "/usr/bin/hello")
        .conffile("/etc/hello.conf", "x=1\n")
        .dir("/var/lib/hello", 0o700)
        .script("postinst", "#!/bin/sh\nexit 0\n")
}

#[test]
fn dpkg_reads_the_packages() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("hello.deb");
    for pack in [Pack::Plain, Pack::Gz, Pack::Xz, Pack::Zst] {
        fs::write(&path, demo().pack(pack).build()).unwrap();
        let path = path.to_str().unwrap();
        assert_eq!(
            run("dpkg-deb", "dpkg", &["-f", path, "Version", "Depends"]),
            "Version: 1:1.0-1\nDepends: libc6 (>= 2)\n"
        );
        let names: Vec<String> = run("dpkg-deb", "dpkg", &["-c", path])
            .lines()
            .map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                format!("{} {}", words[0], words[5..].join(" "))
            })
            .collect();
        let wanted = [
            "drwxr-xr-x ./",
            "drwxr-xr-x ./usr/",
            "drwxr-xr-x ./usr/bin/",
            "-rwsr-xr-x ./usr/bin/hello",
            "lrwxrwxrwx ./usr/bin/hi -> hello",
            "hrwxrwxrwx ./usr/bin/hallo link to ./usr/bin/hello",
            "drwxr-xr-x ./etc/",
            "-rw-r--r-- ./etc/hello.conf",
            "drwxr-xr-x ./var/",
            "drwxr-xr-x ./var/lib/",
            "drwx------ ./var/lib/hello/",
        ];
        assert_eq!(names, wanted, "{pack:?}");
        assert!(run("dpkg-deb", "dpkg", &["-I", path]).contains("postinst"));
    }
}

#[test]
fn gpgv_trusts_the_signatures() {
    let home = tempfile::tempdir().unwrap();
    let key = Key::new();
    Archive::new("stable", 1_700_000_000).write(home.path(), &key);
    let path = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("ring.gpg"), key.keyring()).unwrap();
    let suite = |name: &str| path(&format!("dists/stable/{name}"));
    run("gpgv", "gpgv", &["--keyring", &path("ring.gpg"), &suite("InRelease")]);
    run("gpgv", "gpgv", &["--keyring", &path("ring.gpg"), &suite("Release.gpg"), &suite("Release")]);
}

#[test]
fn apt_takes_the_archive() {
    let home = tempfile::tempdir().unwrap();
    let (archive, state, key) = (home.path().join("archive"), home.path().join("apt"), Key::new());
    Archive::new("stable", 1_700_000_000)
        .deb(demo())
        .deb(Deb::new("libc6", "2.36").arch("amd64").file("/lib/x", 0o644, "x"))
        .deb(Deb::new("foreign", "1").arch("arm64"))
        .write(&archive, &key);
    let server = Server::start(&archive);
    for folder in ["lists/partial", "cache/archives/partial", "etc", "dpkg"] {
        fs::create_dir_all(state.join(folder)).unwrap();
    }
    fs::write(state.join("key.asc"), key.armored()).unwrap();
    fs::write(state.join("dpkg/status"), "").unwrap();
    let entry = format!("deb [arch=amd64 signed-by={}] {} stable main\n", at(&state, "key.asc"), server.url(""));
    fs::write(state.join("sources"), entry).unwrap();
    let options = [
        format!("Dir::Etc={}", at(&state, "etc")),
        format!("Dir::Etc::SourceList={}", at(&state, "sources")),
        format!("Dir::State={}", at(&state, "")),
        format!("Dir::State::Lists={}", at(&state, "lists")),
        format!("Dir::State::Status={}", at(&state, "dpkg/status")),
        format!("Dir::Cache={}", at(&state, "cache")),
        "APT::Architecture=amd64".to_owned(),
        "APT::Architectures=amd64".to_owned(),
        "APT::Sandbox::User=root".to_owned(),
        "Acquire::Languages=none".to_owned(),
    ];
    let apt = |words: &[&str]| {
        let options = options.iter().flat_map(|option| ["-o", option]);
        run("apt-get", "apt", &options.chain(words.iter().copied()).collect::<Vec<_>>())
    };
    apt(&["update", "--error-on=any"]);
    let plan = apt(&["--simulate", "install", "hello"]);
    assert!(plan.contains("Inst hello (1:1.0-1 Test:stable [amd64])"), "{plan}");
    assert!(plan.contains("Inst libc6 (2.36 Test:stable [amd64])"), "{plan}");
}

fn at(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().unwrap().to_owned()
}
