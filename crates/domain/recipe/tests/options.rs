//! What surrounds a recipe: mirrors, profiles, settings of the command line, hostile texts.

use std::collections::BTreeMap;
use std::io;

use kiln_model::{Arch, Digest};
use kiln_recipe::{HostSource, Local, Look, Options, Sources, complete, complete_text, draft, mirrors_from};
use proptest::prelude::*;

/// Files in memory.
struct Memory(BTreeMap<&'static str, &'static str>);

impl Sources for Memory {
    fn read(&self, path: &str) -> io::Result<String> {
        self.0.get(path).map(|text| (*text).to_owned()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn digest(&self, path: &str) -> io::Result<Local> {
        self.read(path).map(|text| Local { digest: Digest::of(text), folder: false, executable: false })
    }
}

const TREE: &str = "edition = 1\n[base]\nrelease = '13'\n[[output]]\nformat = 'tar'\n";

fn tree(options: &Options) -> kiln_recipe::Completed {
    let memory = Memory([("r/tree.toml", TREE)].into());
    complete(&memory, "r/tree.toml", options).unwrap_or_else(|rejected| panic!("{}", rejected.render(Look::PLAIN)))
}

fn uris(options: &Options, repository: &str) -> Vec<String> {
    let spec = tree(options).spec;
    spec.base.repositories.into_iter().find(|found| found.name == repository).expect("a repository").uris
}

#[test]
fn mirrors_come_from_environment_then_host_then_default() {
    let mut options = Options::new(Arch::Amd64);
    assert_eq!(uris(&options, "main"), ["http://ftp.debian.org/debian"]);
    assert_eq!(uris(&options, "security"), ["http://ftp.debian.org/debian-security"]);
    let host =
        |uri: &str, suite: &str| HostSource { distribution: "debian".into(), uri: uri.into(), suite: suite.into() };
    options.host_sources = vec![
        host("http://host.example/debian/", "bookworm"),
        host("http://host.example/debian/", "bookworm-updates"),
        host("http://host.example/security/", "bookworm-security"),
        HostSource { distribution: "ubuntu".into(), uri: "http://other.example/ubuntu".into(), suite: "noble".into() },
    ];
    assert_eq!(uris(&options, "main"), ["http://host.example/debian", "http://ftp.debian.org/debian"]);
    assert_eq!(uris(&options, "security"), ["http://host.example/security", "http://ftp.debian.org/debian-security"]);
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    options.mirrors = mirrors_from([
        variable("KILN_MIRROR_DEBIAN", "http://env.example/debian/ http://two.example/x"),
        variable("PATH", "/bin"),
        variable("KILN_MIRROR_UBUNTU", " "),
    ]);
    assert_eq!(
        uris(&options, "main"),
        ["http://env.example/debian", "http://two.example/x", "http://ftp.debian.org/debian"]
    );
    assert_eq!(
        uris(&options, "security"),
        ["http://env.example/debian-security", "http://ftp.debian.org/debian-security"]
    );
    let spec = tree(&options).spec;
    assert!(
        spec.base.repositories.iter().all(|repository| repository.uri_in_image.starts_with("http://ftp.debian.org/"))
    );
    assert_eq!(spec.base.tools.uris[0], "http://env.example/debian");
}

/// Addresses with credentials are given in the environment; whatever is written down must not hold them.
#[test]
fn mirrors_are_in_no_document() {
    let text = "edition = 1\n[base]\nrelease = '13'\n[[base.repository]]\nname = 'Vendor_x'\n\
                uri = 'https://vendor.example/apt'\nunsigned = true\n[[output]]\nformat = 'tar'\n";
    let memory = Memory([("r/tree.toml", text)].into());
    let spec = |variables: &[(&str, &str)]| {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let options = Options { mirrors: mirrors_from(variables), ..Options::new(Arch::Amd64) };
        complete(&memory, "r/tree.toml", &options).unwrap().spec
    };
    let with = spec(&[
        ("KILN_MIRROR_DEBIAN", "https://me:geheim@mirror.example/debian"),
        ("KILN_MIRROR_VENDOR_X", "https://me:geheim@vendor.example/apt"),
    ]);
    let vendor = with.base.repositories.last().unwrap();
    assert_eq!(vendor.uris, ["https://me:geheim@vendor.example/apt", "https://vendor.example/apt"]);
    assert_eq!(with.base.repositories[0].uris[0], "https://me:geheim@mirror.example/debian");
    let document = serde_json::to_string(&with).unwrap();
    assert!(!document.contains("geheim") && !document.contains("mirror.example"), "{document}");
    assert_eq!(document, serde_json::to_string(&spec(&[])).unwrap());
}

/// What reads a day of the past says which, or the lock of one day would do for another.
#[test]
fn a_snapshot_is_part_of_the_spec() {
    let of =
        |day: &str| complete_text(&TREE.replace("[base]\n", &format!("[base]\nsnapshot = '{day}'\n"))).unwrap().spec;
    let spec = of("2026-01-01");
    let main = &spec.base.repositories[0];
    assert_eq!(main.uris, ["http://snapshot.debian.org/archive/debian/20260101T000000Z"]);
    assert_eq!(main.snapshot.as_deref(), Some("20260101T000000Z"));
    assert_ne!(serde_json::to_string(&spec).unwrap(), serde_json::to_string(&of("2026-01-02")).unwrap());
}

#[test]
fn settings_of_the_command_line_win() {
    let mut options = Options::new(Arch::Amd64);
    let set = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    options.overrides = vec![
        set("system.hostname", "edge"),
        set("packages.include", "['vim']"),
        set("packages.recommends", "true"),
        set("name", "other"),
    ];
    let spec = tree(&options).spec;
    assert_eq!((spec.system.hostname.as_str(), spec.name.as_str()), ("edge", "other"));
    assert!(spec.packages.recommends);
    assert!(spec.packages.include.iter().any(|wanted| wanted.package == "vim" && wanted.why == "recipe"));
    options.overrides = vec![set("system.hostnam", "edge")];
    let memory = Memory([("tree.toml", TREE)].into());
    let rejected = complete(&memory, "tree.toml", &options).unwrap_err();
    let first = &rejected.diagnostics[0];
    assert_eq!((first.place.file.as_str(), first.code.as_str()), ("--set system.hostnam", "unknown-key"));
    assert!(rejected.render(Look::PLAIN).contains("did you mean `hostname`?"));
}

#[test]
fn profiles_are_laid_over_in_order() {
    let text = "edition = 1\nname = 'n'\nbase.release = '13'\n[[output]]\nformat = 'tar'\n\
                [profile.a]\nsystem.hostname = 'a'\npackages.include = ['vim']\n[profile.b]\nsystem.hostname = 'b'\n";
    let memory = Memory([("p.toml", text)].into());
    let mut options = Options::new(Arch::Amd64);
    let hostname =
        |options: &Options| complete(&memory, "p.toml", options).map(|completed| completed.spec.system.hostname);
    assert_eq!(hostname(&options).as_deref(), Ok("n"));
    options.profiles = vec!["a".into(), "b".into()];
    assert_eq!(hostname(&options).as_deref(), Ok("b"));
    options.profiles = vec!["bb".into()];
    let rejected = hostname(&options).unwrap_err();
    assert_eq!(rejected.diagnostics[0].code, "unknown-profile");
    assert_eq!(rejected.diagnostics[0].hint.as_deref(), Some("possible here: `a`, `b`"));
}

#[test]
fn packages_are_found_again_in_the_recipe() {
    let text = "edition = 1\nbase.release = '13'\npackages.include = [\n  'vim=2',\n]\n[[output]]\nformat = 'tar'\n";
    let completed = complete_text(text).unwrap();
    let place = completed.locate("vim").expect("a place");
    assert_eq!((place.file.as_str(), place.line, place.column, place.len), ("kiln.toml", 4, 3, 7));
    assert_eq!(completed.locate("debian-archive-keyring"), None);
}

#[test]
fn a_recipe_that_is_not_there_is_told() {
    let rejected = complete(&Memory(BTreeMap::new()), "none.toml", &Options::new(Arch::Amd64)).unwrap_err();
    assert_eq!(rejected.diagnostics.len(), 1);
    assert_eq!(rejected.diagnostics[0].message, "cannot read `none.toml`: entity not found");
    assert!(!rejected.render(Look::PLAIN).is_empty());
}

/// Pieces that recipes and their mistakes are made of.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "edition = 1\n",
        "[base]\n",
        "release = \"13\"\n",
        "[[output]]\n",
        "format = ",
        "\"raw\"",
        "board = \"generic-x86_64\"\n",
        "[[user]]\n",
        "name = ",
        "password = \"x\"\n",
        "[",
        "]",
        "[[",
        "{",
        "}",
        "=",
        ",",
        "\n",
        "\"",
        "'",
        "0644",
        "1e9",
        "é",
        "\u{0}",
        "include = [\"kiln.toml\"]\n",
        "[profile.a]\n",
        "system.hostname = ",
        "true",
        "1979-05-27",
        "size = \"9999999TiB\"\n",
        "[disk]\n",
        "password = { secret = \"a\" }\n",
        "99999999999999999999",
        "\"\"\"\n",
        "#",
    ];
    prop_oneof![3 => proptest::sample::select(words.to_vec()).prop_map(str::to_owned), 1 => "\\PC{0,8}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the text, it returns, and every place lies in the text.
    #[test]
    fn no_text_brings_it_down(pieces in proptest::collection::vec(piece(), 0..24)) {
        let text = pieces.concat();
        let (diagnostics, files) = match complete_text(&text) {
            Ok(completed) => (completed.warnings, completed.files),
            Err(rejected) => {
                prop_assert!(rejected.errors() > 0);
                (rejected.diagnostics, rejected.files)
            }
        };
        for diagnostic in &diagnostics {
            let place = &diagnostic.place;
            let shown = files.text(&place.file).unwrap_or_default();
            prop_assert!(shown.get(place.offset..place.offset + place.len).is_some(), "{:?} in {:?}", place, text);
        }
        prop_assert_eq!(kiln_recipe::render(&diagnostics, &files, Look::PLAIN).is_empty(), diagnostics.is_empty());
    }
}

/// A draft says what packages are asked for as long as no mistake leaves open where they come from.
#[test]
fn a_recipe_with_mistakes_is_understood_as_far_as_its_base_goes() {
    let head = "edition = 1\n[packages]\ninclude = ['vim']\n[[output]]\nformat = 'tra'\n[base]\nrelease = '13'\n";
    let cases = [
        ("", true),
        ("board = 'generic-x86'\narchitecture = 'amd64'\n", true),
        ("board = 'generic-x86'\n", false),
        ("nonsense = 1\n", true),
        ("[system]\nhostnam = 'a'\n", true),
        ("architecture = 'z80'\n", false),
        ("componnents = ['contrib']\n", false),
        ("snapshot = 'yesterday'\n", false),
        ("[[base.repository]]\nname = 'x'\n", false),
        ("x = \n", false),
    ];
    for (more, understood) in cases {
        let text: &'static str = format!("{head}{more}").leak();
        let draft = draft(&Memory([("r.toml", text)].into()), "r.toml", &Options::new(Arch::Amd64));
        assert!(!draft.is_sound(), "{more}");
        let asked = draft.completed.as_ref().map(|completed| completed.locate("vim").is_some());
        assert_eq!(asked, understood.then_some(true), "{more}");
        assert!(draft.finish().is_err(), "{more}");
    }
}

/// Files in memory that need not be text.
struct Bytes(BTreeMap<&'static str, &'static [u8]>);

impl Sources for Bytes {
    fn read(&self, _: &str) -> io::Result<String> {
        Err(io::ErrorKind::InvalidData.into())
    }

    fn read_bytes(&self, path: &str) -> io::Result<Vec<u8>> {
        self.0.get(path).map(|bytes| bytes.to_vec()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn digest(&self, _: &str) -> io::Result<Local> {
        Err(io::ErrorKind::NotFound.into())
    }
}

#[test]
fn the_first_byte_that_is_no_utf8_is_pointed_at() {
    let told = |files: Bytes| {
        let rejected = complete(&files, "r.toml", &Options::new(Arch::Amd64)).unwrap_err();
        let [said] = rejected.diagnostics.as_slice() else { panic!("{rejected:?}") };
        let label = said.label.clone().unwrap_or_default();
        format!("{}:{}:{} {} {}; {label}", said.place.file, said.place.line, said.place.column, said.code, said.message)
    };
    let latin = b"# caf\xc3\xa9\nname = \"caf\xe9\" # \xe9\n";
    assert_eq!(told(Bytes([("r.toml", &latin[..])].into())), "r.toml:2:12 syntax `r.toml` is not UTF-8; byte 0xe9");
    let wide = b"\xff\xfee\0d\0";
    assert_eq!(told(Bytes([("r.toml", &wide[..])].into())), "r.toml:1:1 syntax `r.toml` is not UTF-8; byte 0xff");
    let including = b"edition = 1\ninclude = [\"part.toml\"]\n";
    let files = Bytes([("r.toml", &including[..]), ("part.toml", &latin[..])].into());
    assert_eq!(told(files), "part.toml:2:12 syntax `part.toml` is not UTF-8; byte 0xe9");
}
