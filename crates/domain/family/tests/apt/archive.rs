//! apt with a life of its own: lists, status and caches below `target/`, nothing of this machine's.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use kiln_family::deb::packages::Index;
use kiln_family::deb::solve::{Pin, Repository, Source, Universe};
use kiln_model::{Arch, Digest};
use kiln_testkit::{debian_mirrors, whole_suite};

use crate::Packages;
use crate::sets::Set;

/// Where the mirror is in the middle of an update of one, as it may be for days, the release alone is read, by the name that is whole.
const SUITES: [&str; 3] = ["trixie", "trixie-updates", "trixie-security"];

/// An archive for a native and some foreign architectures, as apt and as kiln see it.
pub struct Archive {
    pub architectures: Vec<Arch>,
    pub universe: Universe,
    folder: PathBuf,
    /// Digest of all lists: what apt said is only good for these.
    lists: Digest,
    minbase: OnceLock<Packages>,
}

impl Archive {
    pub fn open(architectures: &[Arch]) -> Self {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _held = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let name: Vec<&str> = architectures.iter().map(|arch| arch.debian()).collect();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("apt").join(name.join("+"));
        set_up(&folder, architectures);
        let (sources, lists) = sources(&folder.join("lists"), architectures);
        let universe = Universe::new(architectures[0], &architectures[1..], sources);
        let minbase = OnceLock::new();
        let architectures = architectures.to_vec();
        Self { architectures, universe, folder, lists, minbase }
    }

    /// Returns what apt makes of everything essential or required, and itself.
    pub fn minbase(&self) -> Packages {
        let make = || {
            let words: BTreeSet<String> = fs::read_dir(self.folder.join("lists"))
                .unwrap()
                .filter_map(|entry| list_of(&entry.unwrap().path(), self.architectures[0]))
                .flat_map(|list| {
                    let index = Index::parse(list).unwrap();
                    let base = |stanza: &kiln_family::deb::Stanza<'_>| {
                        stanza.is_essential() || stanza.get("Priority") == Some("required") || stanza.name() == "apt"
                    };
                    index.stanzas().filter(base).map(|stanza| stanza.name().to_owned()).collect::<Vec<_>>()
                })
                .collect();
            let words = words.into_iter().collect();
            let set = Set { minbase: false, architectures: self.architectures.clone(), recommends: false, words };
            self.apt(&set, &Packages::new()).unwrap()
        };
        self.minbase.get_or_init(make).clone()
    }

    /// Returns what apt would have installed in the end.
    pub fn apt(&self, set: &Set, installed: &Packages) -> Result<Packages, String> {
        let kept = self
            .folder
            .join(format!("answer-{}", Digest::of(format!("{} {set} {}", self.lists, installed.len())).short()));
        let said = fs::read_to_string(&kept).unwrap_or_else(|_| {
            let said = self.run_apt(set, installed);
            fs::write(&kept, &said).unwrap();
            said
        });
        match said.strip_prefix("refused: ") {
            Some(why) => Err(why.to_owned()),
            None => Ok(after(&said, installed)),
        }
    }

    fn run_apt(&self, set: &Set, installed: &Packages) -> String {
        let status = self.folder.join(if set.minbase { "status-minbase" } else { "status-empty" });
        if set.minbase {
            static WRITTEN: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
            let mut written = WRITTEN.lock().unwrap();
            if !written.contains(&status) {
                fs::write(&status, self.status(installed)).unwrap();
                apt(&self.folder, &status, "apt-cache", &["gencaches"]);
                written.push(status.clone());
            }
        }
        let recommends = format!("APT::Install-Recommends={}", set.recommends);
        let mut words: Vec<&str> = vec!["-s", "-o", &recommends, "install"];
        words.extend(set.words.iter().map(String::as_str));
        let output = apt(&self.folder, &status, "apt-get", &words);
        if output.status.success() {
            return String::from_utf8(output.stdout).unwrap();
        }
        format!("refused: {}", String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default())
    }

    /// Returns a dpkg status file.
    fn status(&self, installed: &Packages) -> String {
        let stanza = |word: &String| {
            let pin = pin(word);
            let arch =
                if pin.architecture == "all" { self.architectures[0] } else { pin.architecture.parse().unwrap() };
            let versions = self.universe.versions_of(&pin.name, arch);
            let version = versions.into_iter().find(|&version| self.universe.version(version) == pin.version).unwrap();
            let fields = self
                .universe
                .stanza(version)
                .fields()
                .filter(|(name, _)| !["Filename", "Size", "SHA256", "MD5sum", "Description-md5"].contains(name));
            let fields: String = fields.map(|(name, value)| format!("{name}: {value}\n")).collect();
            format!("{fields}Status: install ok installed\n\n")
        };
        installed.iter().map(stanza).collect()
    }
}

/// Writes apt's configuration and brings the lists if they are older than a day.
fn set_up(folder: &Path, architectures: &[Arch]) {
    for part in ["lists/partial", "cache/archives/partial", "state"] {
        fs::create_dir_all(folder.join(part)).unwrap();
    }
    let empty = folder.join("status-empty");
    fs::write(&empty, "").unwrap();
    let (main, security) = debian_mirrors();
    let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
    let line = |suite: &str| {
        let uri = if suite.ends_with("-security") { &security } else { &main };
        format!("deb [signed-by={keyring}] {uri} {suite} main\n")
    };
    let list: String = architectures.iter().map(|arch| format!(" \"{arch}\";")).collect();
    let at = folder.display();
    let configuration = format!(
        "Dir::State \"{at}/state\";\nDir::State::lists \"{at}/lists\";\nDir::Cache \"{at}/cache\";\n\
         Dir::Etc::main \"/dev/null\";\nDir::Etc::parts \"/dev/null\";\nDir::Etc::sourcelist \"{at}/sources.list\";\n\
         Dir::Etc::sourceparts \"/dev/null\";\nDir::Etc::preferences \"/dev/null\";\nDir::Etc::preferencesparts \"/dev/null\";\n\
         APT::Architecture \"{}\";\nAPT::Architectures {{{list} }};\nAcquire::Languages \"none\";\nAcquire::GzipIndexes \"false\";\n\
         APT::Sandbox::User \"root\";\nDebug::NoLocking \"true\";\n",
        architectures[0]
    );
    fs::write(folder.join("apt.conf"), configuration).unwrap();
    let stamp = folder.join("fetched");
    let age = fs::metadata(&stamp)
        .and_then(|meta| meta.modified())
        .ok()
        .and_then(|at| SystemTime::now().duration_since(at).ok());
    if age.is_none_or(|age| age > Duration::from_secs(86_400)) {
        fs::write(folder.join("sources.list"), SUITES.map(line).concat()).unwrap();
        if let Err(said) = update(folder, &empty) {
            assert!(said.contains("Mirror sync in progress"), "apt-get update: {said}");
            fs::write(folder.join("sources.list"), line(whole_suite())).unwrap();
            update(folder, &empty).unwrap_or_else(|said| panic!("apt-get update: {said}"));
        }
        fs::write(&stamp, "").unwrap();
    }
    apt(folder, &empty, "apt-cache", &["gencaches"]);
}

fn update(folder: &Path, status: &Path) -> Result<(), String> {
    let output = apt(folder, status, "apt-get", &["update"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() && !said.contains("E:") && !said.contains("W:") { Ok(()) } else { Err(said) }
}

/// apt's caches are kept apart by status file, or they would be made anew at every change of it.
fn apt(folder: &Path, status: &Path, program: &str, words: &[&str]) -> Output {
    let cache = folder.join(format!("cache-{}", status.file_name().unwrap().to_str().unwrap()));
    fs::create_dir_all(cache.join("archives/partial")).unwrap();
    let mut command = Command::new(program);
    command.env("APT_CONFIG", folder.join("apt.conf")).env("LC_ALL", "C").args(words);
    command.arg("-o").arg(format!("Dir::State::status={}", status.display()));
    command.arg("-o").arg(format!("Dir::Cache={}", cache.display()));
    command.output().unwrap_or_else(|error| panic!("{program}: {error}; this test needs Debian's package `apt`"))
}

/// Returns the lists in the order in which apt reads them.
fn sources(lists: &Path, architectures: &[Arch]) -> (Vec<Source>, Digest) {
    let (mut sources, mut all) = (Vec::new(), String::new());
    let list = fs::read_to_string(lists.with_file_name("sources.list")).unwrap();
    for suite in list.lines().filter_map(|line| line.split(' ').nth(3)) {
        for arch in architectures {
            let ending = format!("_dists_{suite}_main_binary-{arch}_Packages");
            let file = fs::read_dir(lists)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .find(|path| path.to_string_lossy().ends_with(&ending));
            let bytes = fs::read(file.unwrap_or_else(|| panic!("no list `*{ending}`"))).unwrap();
            all.push_str(&Digest::of(&bytes).to_string());
            let repository =
                Repository { name: suite.into(), suite: suite.into(), codename: suite.into(), priority: 500 };
            sources.push(Source { repository, index: Index::parse(bytes).unwrap() });
        }
    }
    (sources, Digest::of(all))
}

fn list_of(path: &Path, arch: Arch) -> Option<Vec<u8>> {
    path.to_string_lossy().ends_with(&format!("_binary-{arch}_Packages")).then(|| fs::read(path).unwrap())
}

pub fn word(name: &str, arch: &str, version: &str) -> String {
    format!("{name}:{arch}={version}")
}

pub fn pin(word: &str) -> Pin {
    let (package, version) = word.split_once('=').unwrap();
    let (name, architecture) = package.split_once(':').unwrap();
    Pin { name: name.into(), architecture: architecture.into(), version: version.into() }
}

/// Reads `Inst name [old] (version where [arch])` and `Remv name [version]`.
fn after(said: &str, installed: &Packages) -> Packages {
    let mut packages = installed.clone();
    for line in said.lines() {
        let mut words = line.split_whitespace();
        let (verb, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (name, foreign) = name.split_once(':').map_or((name, None), |(name, arch)| (name, Some(arch)));
        match verb {
            "Inst" => {
                let inside = line.split_once('(').unwrap().1.split(')').next().unwrap();
                let version = inside.split_whitespace().next().unwrap();
                let arch = inside.rsplit_once('[').unwrap().1.trim_end_matches(']');
                packages.retain(|known| !(same(known, name) && is_arch(known, arch)));
                packages.insert(word(name, arch, version));
            }
            "Remv" => packages.retain(|word| !(same(word, name) && foreign.is_none_or(|arch| is_arch(word, arch)))),
            _ => {}
        }
    }
    packages
}

fn same(word: &str, name: &str) -> bool {
    word.split(':').next() == Some(name)
}

fn is_arch(word: &str, arch: &str) -> bool {
    let have = word.split(':').nth(1).and_then(|rest| rest.split('=').next());
    have == Some(arch) || have == Some("all") || arch == "all"
}
