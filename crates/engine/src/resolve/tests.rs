//! Mirrors that lag, lie or break, in front of good ones or alone; each archive is made and signed here.

use std::fs;
use std::path::{Path, PathBuf};

use kiln_fetch::shown;
use kiln_model::{Arch, Fault, FaultKind};
use kiln_recipe::spec::{BaseSet, Repository, Trust};
use kiln_store::Doc;
use kiln_testkit::{Archive as Made, Deb, Fault as Broken, Key, Pack, Server};

use super::{Archive, Update};
use crate::config::{CACHE_LIMIT, Config};
use crate::events::Events;
use crate::kiln::Kiln;

/// The first of January 2096, and a day, in seconds; long after the signatures, whose own times count too.
const T0: i64 = 3_976_214_400;
const DAY: i64 = 86_400;

/// A folder, a kiln that works in it, and the archive's key.
struct Bench {
    home: tempfile::TempDir,
    key: Key,
    kiln: Kiln,
}

fn bench() -> Bench {
    let home = tempfile::tempdir().unwrap();
    let kiln = Kiln::open(config(home.path())).unwrap();
    Bench { home, key: Key::new(), kiln }
}

pub(super) fn config(home: &Path) -> Config {
    Config {
        lend: true,
        cache: home.join("cache"),
        cache_limit: CACHE_LIMIT,
        jobs: 1,
        offline: false,
        mirrors: Default::default(),
        now: T0 + 10 * DAY,
        clock_offset: 0,
        sandbox_hostname: "test".into(),
        stages: None,
    }
}

/// An archive with one package, whose version tells it from others.
fn made(suite: &str, version: &str, date: i64) -> Made {
    Made::new(suite, date).deb(Deb::new("demo", version))
}

impl Bench {
    /// Makes a mirror with an archive.
    fn mirror(&self, name: &str, archive: &Made) -> (Server, PathBuf) {
        let root = self.home.path().join(name);
        archive.write(&root, &self.key);
        (Server::start(&root), root)
    }

    fn repository(&self, mirrors: &[&Server]) -> Repository {
        Repository {
            name: "main".into(),
            uris: mirrors.iter().map(|server| server.url("")).collect(),
            uri_in_image: "http://image.example/debian".into(),
            suite: "demo".into(),
            components: vec!["main".into()],
            architectures: vec![Arch::Amd64],
            trust: Trust::Keys { armored: self.key.armored(), fingerprints: vec![] },
            priority: 500,
            signed_by: None,
            check_valid_until: true,
            snapshot: None,
            in_image: true,
        }
    }

    fn read(&self, repository: &Repository) -> Result<Archive, Fault> {
        Archive::read(&self.kiln, repository, &[Arch::Amd64], &Events::new(vec![]))
    }

    /// Returns the version of the archive's package.
    fn version(&self, repository: &Repository) -> Result<String, Fault> {
        let archive = self.read(repository)?;
        let package = archive.sources[0].index.stanzas().next().expect("it has one package");
        Ok(package.version().to_owned())
    }
}

fn error(result: Result<String, Fault>) -> String {
    result.expect_err("it is not believed").chain()
}

#[test]
fn a_good_mirror_helps_against_a_bad_one_in_front() {
    let bad_key = Key::new();
    type Spoil = fn(&Server, &Path, &Key);
    let cases: [(&str, Made, Spoil); 6] = [
        ("expired", made("demo", "1", T0).valid_until(T0 + DAY), |_, _, _| {}),
        ("rolled back", made("demo", "1", T0 - DAY), |_, _, _| {}),
        ("another suite", made("other", "1", T0), |_, root, _| {
            fs::rename(root.join("dists/other"), root.join("dists/demo")).unwrap();
        }),
        ("foreign key", made("demo", "1", T0), |_, root, key| made("demo", "1", T0).write(root, key)),
        ("login page", made("demo", "1", T0), |server, _, _| server.put("/dists/demo/InRelease", *b"<html>log in")),
        ("forbidden", made("demo", "1", T0), |server, _, _| server.fault("/dists/demo/InRelease", Broken::Status(403))),
    ];
    for (what, archive, spoil) in cases {
        let bench = bench();
        let (good, _) = bench.mirror("good", &made("demo", "2", T0));
        bench.read(&bench.repository(&[&good])).unwrap_or_else(|fault| panic!("{what}: {}", fault.chain()));
        let (bad, root) = bench.mirror("bad", &archive);
        spoil(&bad, &root, &bad_key);
        assert_eq!(bench.version(&bench.repository(&[&bad, &good])).ok().as_deref(), Some("2"), "{what}");
        let fault = bench.read(&bench.repository(&[&bad])).err().unwrap_or_else(|| panic!("{what}: believed"));
        assert_eq!(fault.kind(), FaultKind::Upstream, "{what}");
    }
}

#[test]
fn all_that_was_wrong_is_told() {
    let bench = bench();
    let (stale, _) = bench.mirror("stale", &made("demo", "1", T0).valid_until(T0 + DAY));
    let (other, root) = bench.mirror("other", &made("other", "1", T0));
    fs::rename(root.join("dists/other"), root.join("dists/demo")).unwrap();
    let none = Server::start(&bench.home.path().join("none"));
    let fault = bench.read(&bench.repository(&[&none, &stale, &other])).err().expect("none of them is believed");
    let told = |text: &str| {
        [(&none, "none"), (&stale, "stale"), (&other, "other")]
            .iter()
            .fold(text.to_owned(), |text, (server, name)| text.replace(&server.url(""), &format!("http://{name}")))
    };
    assert_eq!(
        told(&fault.chain()),
        "read repository `main`: `http://stale`: the release file was valid until 2096-01-02 00:00:00 UTC"
    );
    assert_eq!(
        told(fault.detail_text().unwrap()),
        "no mirror helped:\n\
         - fetch `Release`: `http://none/dists/demo/Release` is not there (status 404)\n\
         - `http://stale`: the release file was valid until 2096-01-02 00:00:00 UTC\n\
         - `http://other`: the release file is that of `other` alias `other`, not of `demo`"
    );
    assert!(fault.hint_text().unwrap().contains("stale"));
}

#[test]
fn a_login_page_is_not_remembered() {
    let bench = bench();
    let (server, root) = bench.mirror("mirror", &made("demo", "1", T0));
    let real = fs::read(root.join("dists/demo/InRelease")).unwrap();
    let repository = bench.repository(&[&server]);
    server.put("/dists/demo/InRelease", *b"<html>log in");
    assert!(error(bench.version(&repository)).contains("not a clear-signed message"));
    // Whatever would be asked with what the page said of itself, the server would answer: unchanged.
    let url = format!("{}/dists/demo/InRelease", server.url(""));
    assert_eq!(bench.kiln.store.document(Doc::Answer, &shown(&url)).unwrap(), None);
    server.put("/dists/demo/InRelease", real);
    assert_eq!(bench.version(&repository).unwrap(), "1");
    assert!(bench.kiln.store.document(Doc::Answer, &shown(&url)).unwrap().is_some());
}

#[test]
fn what_was_remembered_and_is_no_longer_believed_is_asked_for_anew() {
    let bench = bench();
    let (server, _) = bench.mirror("mirror", &made("demo", "1", T0));
    let repository = bench.repository(&[&server]);
    let answer = |text: &[u8]| {
        let url = format!("{}/dists/demo/InRelease", server.url(""));
        server.put("/dists/demo/InRelease", text);
        let answer = bench.kiln.fetcher.fetch_small(None, &[url], 1 << 20).unwrap();
        bench.kiln.fetcher.remember(&bench.kiln.store, &answer).unwrap();
    };
    answer(b"remembered by an older kiln");
    let asked = server.count("/dists/demo/InRelease");
    assert!(error(bench.version(&repository)).contains("not a clear-signed message"));
    let asked = &server.seen()[asked..];
    assert_eq!(
        asked.iter().map(|seen| seen.status).collect::<Vec<_>>(),
        [304, 200],
        "the second time without conditions"
    );
}

#[test]
fn an_old_state_is_refused_but_for_a_snapshot() {
    let bench = bench();
    let (new, _) = bench.mirror("new", &made("demo", "2", T0));
    let (old, _) = bench.mirror("old", &made("demo", "1", T0 - DAY));
    assert_eq!(bench.version(&bench.repository(&[&new])).unwrap(), "2");
    let wanted =
        "the release file is dated 2095-12-31 00:00:00 UTC, older than the one of 2096-01-01 00:00:00 UTC seen before";
    assert!(error(bench.version(&bench.repository(&[&old]))).ends_with(wanted));
    let snapshot = Repository { check_valid_until: false, ..bench.repository(&[&old]) };
    assert_eq!(bench.version(&snapshot).unwrap(), "1");
    assert!(error(bench.version(&bench.repository(&[&old]))).ends_with(wanted), "the snapshot lowers nothing");
}

#[test]
fn of_many_kilns_the_newest_date_stays() {
    let bench = bench();
    let servers: Vec<_> =
        (0..8).map(|day| bench.mirror(&day.to_string(), &made("demo", "1", T0 + day * DAY)).0).collect();
    std::thread::scope(|scope| {
        for server in servers.iter().rev() {
            let repository = bench.repository(&[server]);
            let kiln = Kiln::open(config(bench.home.path())).unwrap();
            scope.spawn(move || Archive::read(&kiln, &repository, &[Arch::Amd64], &Events::new(vec![])).map(drop));
        }
    });
    let seen = bench.kiln.store.document(Doc::Seen, "http://image.example/debian demo").unwrap().unwrap();
    assert_eq!(String::from_utf8(seen).unwrap(), (T0 + 7 * DAY).to_string());
}

#[test]
fn lists_are_asked_for_by_digest_where_there_are_such_and_by_name_otherwise() {
    let asked = |server: &Server| {
        let seen = server.seen().into_iter().filter(|seen| seen.target.contains("/binary-amd64/"));
        seen.map(|seen| (seen.target.contains("/by-hash/SHA256/"), seen.status)).collect::<Vec<_>>()
    };
    let archive = || made("demo", "1", T0).packs(&[Pack::Xz]);
    let bench = bench();
    let (plain, _) = bench.mirror("plain", &archive().without_by_hash());
    assert_eq!(bench.version(&bench.repository(&[&plain])).unwrap(), "1");
    assert_eq!(asked(&plain), [(false, 200)], "nobody said that there are digests");

    let bench = self::bench();
    let (server, root) = bench.mirror("by-hash", &archive());
    fs::remove_dir_all(root.join("dists/demo/main/binary-amd64/by-hash")).unwrap();
    assert_eq!(bench.version(&bench.repository(&[&server])).unwrap(), "1");
    assert_eq!(asked(&server), [(true, 404), (false, 200)], "a mirror without what its release file promises");

    let bench = self::bench();
    let (server, root) = bench.mirror("neither", &archive());
    fs::remove_dir_all(root.join("dists/demo/main/binary-amd64")).unwrap();
    let fault = bench.read(&bench.repository(&[&server])).err().expect("there is no list");
    assert_eq!(asked(&server), [(true, 404), (false, 404)]);
    assert!(fault.chain().starts_with("fetch `main/binary-amd64/Packages.xz of main`"), "{}", fault.chain());
}

#[test]
fn the_mirror_that_is_believed_is_asked_for_the_lists_first() {
    let bench = bench();
    let (stale, _) = bench.mirror("stale", &made("demo", "1", T0).valid_until(T0 + DAY));
    let (good, _) = bench.mirror("good", &made("demo", "2", T0));
    bench.read(&bench.repository(&[&stale, &good])).unwrap();
    assert!(stale.seen().iter().all(|seen| seen.target.ends_with("/InRelease")), "{:?}", stale.seen());
}

/// A list of a thousand million zeros in a few kilobytes ends where its release file says that it ends.
#[test]
fn a_list_larger_than_its_release_file_says_is_not_held_in_memory() {
    let bench = bench();
    let (server, root) = bench.mirror("bomb", &made("demo", "1", T0).packs(&[Pack::Gz]));
    let release = fs::read_to_string(root.join("dists/demo/Release")).unwrap();
    let bomb = Pack::Gz.pack(&vec![b'\n'; 64 << 20]);
    let list = "main/binary-amd64/Packages.gz";
    let digest = kiln_model::Digest::of(&bomb);
    let of_list = |line: &str| line.ends_with(list);
    let lines = release.lines().map(|line| match of_list(line) {
        true => format!(" {digest} {} {list}", bomb.len()),
        false => line.to_owned(),
    });
    let told = lines.collect::<Vec<_>>().join("\n") + "\n";
    server.put(&format!("/dists/demo/main/binary-amd64/by-hash/SHA256/{digest}"), bomb.clone());
    let untold = told.lines().filter(|line| !line.ends_with("/Packages")).collect::<Vec<_>>().join("\n") + "\n";
    let plain = release.lines().find(|line| line.ends_with("/Packages")).unwrap().split_whitespace().nth(1).unwrap();
    for (text, limit) in [(told, plain.to_owned()), (untold, (bomb.len() * 100).to_string())] {
        server.put("/dists/demo/InRelease", bench.key.sign_inline(&text).into_bytes());
        let told = error(bench.version(&bench.repository(&[&server])));
        let wanted =
            format!("decompress `{list}` of repository `main`: it is larger than the {limit} bytes it may have");
        assert_eq!(told, wanted);
    }
}

#[test]
fn what_builds_for_another_architecture_is_fetched_ahead() {
    let bench = bench();
    let (here, there) = (Arch::host(), Arch::Riscv64);
    let both = [here, there].map(|arch| Deb::new("dash", "1").arch(arch.debian()).essential());
    let archive = Made::new("demo", T0).architectures(&[here.debian(), there.debian()]);
    let archive = both.into_iter().fold(archive, Made::deb).deb(Deb::new("qemu-user", "10").arch(here.debian()));
    let (server, _) = bench.mirror("mirror", &archive);
    let mut loaded = crate::load::empty(&config(bench.home.path())).unwrap();
    loaded.lock_path = bench.home.path().join("kiln.lock");
    let spec = &mut loaded.completed.spec;
    let main = Repository { architectures: vec![here, there], ..bench.repository(&[&server]) };
    spec.base.tools = Repository { name: super::TOOLS.into(), ..main.clone() };
    (spec.base.repositories, spec.base.architecture) = (vec![main], there);
    spec.packages.base = BaseSet::Essential;
    spec.packages.include.clear();
    let events = Events::new(vec![]);
    let lock = bench.kiln.lock(&loaded, &Update::Keep, &events).unwrap();
    let bytes = bench.kiln.fetch(&loaded, &lock, &events).unwrap();
    let mut pool: Vec<String> = server.seen().into_iter().map(|seen| seen.target).collect();
    pool.retain(|target| target.contains("/pool/"));
    pool.sort();
    let names: Vec<&str> = pool.iter().filter_map(|target| target.rsplit('/').next()).collect();
    let debian = (here.debian(), there.debian());
    let mut wanted = [format!("dash_1_{}.deb", debian.0), format!("dash_1_{}.deb", debian.1)].to_vec();
    wanted.sort();
    wanted.push(format!("qemu-user_10_{}.deb", debian.0));
    assert_eq!(names, wanted);
    // Without the network there is all of it, and the locks of what is not in the image's.
    drop(server);
    assert_eq!(bench.kiln.offline().fetch(&loaded, &lock, &events).unwrap(), bytes);
}
