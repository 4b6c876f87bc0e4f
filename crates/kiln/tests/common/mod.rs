//! What the tests of the binary share: a folder, the program in it, what it said.
#![allow(dead_code)]

pub mod alpine;
pub mod farm;
pub mod terminal;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Where a test works: recipes, their locks, artifacts. Removed in the end.
pub struct Bench {
    folder: tempfile::TempDir,
    cache: PathBuf,
    jobs: Option<usize>,
    /// Where Debian comes from, if not from the mirror of this machine.
    mirror: Option<String>,
}

/// How many threads a test of the boot ring may use: nextest runs two at once (`.config/nextest.toml`), and two emulators that share
/// every processor are slower than two that have one each.
pub fn share() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    if std::env::var_os("NEXTEST").is_some() { processors.div_ceil(2) } else { processors }
}

/// How a run of kiln ended.
#[derive(Debug)]
pub struct Done {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Bench {
    /// A bench with a cache of its own.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let cache = folder.path().join("cache");
        Self { folder, cache, jobs: None, mirror: None }
    }

    /// A bench whose cache is shared by the tests of the boot ring and kept between runs. Each builds from the same state of the mirror.
    pub fn shared() -> Self {
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("boot-ring");
        fs::create_dir_all(&cache).expect("the shared cache");
        Self { cache, jobs: Some(share()), mirror: kiln_testkit::detour(), ..Self::new() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn cache(&self) -> &Path {
        &self.cache
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("below the folder")).expect("a folder for the file");
        fs::write(&path, text).expect("the file can be written");
        path
    }

    /// Copies a recipe of `examples/`.
    pub fn example(&self, name: &str) -> PathBuf {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
        self.write(name, &fs::read_to_string(&from).expect("the example is there"))
    }

    /// Returns kiln, about to be called in the bench's folder.
    pub fn kiln(&self, words: &[&str]) -> Command {
        self.program(Path::new(env!("CARGO_BIN_EXE_kiln")), words)
    }

    pub fn program(&self, kiln: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(kiln);
        command.args(words).current_dir(self.folder.path()).stdin(Stdio::null());
        self.lend(&mut command);
        command
    }

    /// Lets a program, or what it starts, build as kiln does here.
    pub fn lend(&self, command: &mut Command) {
        command.env("KILN_CACHE", &self.cache).env_remove("SOURCE_DATE_EPOCH").env_remove("KILN_JOBS");
        if let Some(mirror) = &self.mirror {
            command.env("KILN_MIRROR_DEBIAN", mirror);
        }
        // Nothing of the ring is to be collected while another test of it works.
        if let Some(jobs) = self.jobs {
            command.env("KILN_JOBS", jobs.to_string()).env("KILN_CACHE_LIMIT", "60G");
        }
    }

    /// Makes kiln's Debian package of the kiln that is tested; returns its name in the folder.
    pub fn package_of_kiln(&self, name: &str) -> String {
        let mut making = Command::new(env!("CARGO"));
        let package = self.path(name);
        fs::create_dir_all(package.parent().expect("below the folder")).expect("a folder for the package");
        let package = package.display().to_string();
        making.args(["xtask", "deb", "--binary", env!("CARGO_BIN_EXE_kiln"), "--out", &package]);
        making.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
        self.lend(&mut making);
        Done::of(making.output().expect("cargo starts")).well();
        package
    }

    /// Runs kiln to its end.
    pub fn run(&self, words: &[&str]) -> Done {
        Done::of(self.kiln(words).output().expect("kiln starts"))
    }

    /// Runs kiln; it must end well.
    pub fn ok(&self, words: &[&str]) -> Done {
        self.run(words).well()
    }

    /// Returns every package that a lock has: its control file, and where the cache keeps its file.
    pub fn packages(&self, lock: &str) -> Vec<(String, PathBuf)> {
        let text = fs::read_to_string(self.path(lock)).expect("the lock is there");
        // Those of kiln's own tools come after those of the image.
        let image = text.split("\ntools = [").next().unwrap_or_default();
        let sums = image.split("sha256 = \"").skip(1).map(|rest| &rest[..64]);
        let files = sums.map(|sha256| self.cache.join("blobs/sha256").join(&sha256[..2]).join(&sha256[2..]));
        let debs = files.filter(|file| fs::read(file).is_ok_and(|bytes| bytes.starts_with(b"!<arch>")));
        debs.map(|file| (tool("dpkg-deb", &["-f", &file.display().to_string()]), file)).collect()
    }

    /// Returns the name of the package that a lock has under this beginning of a name, and where the cache keeps its file.
    pub fn package(&self, lock: &str, beginning: &str) -> (String, PathBuf) {
        let text = fs::read_to_string(self.path(lock)).expect("the lock is there");
        let line = text.lines().find(|line| line.contains(&format!("{{ name = \"{beginning}")));
        let line = line.expect("the package is locked");
        let value = |key: &str| line.split_once(&format!("{key} = \"")).unwrap().1.split('"').next().unwrap();
        let sha256 = value("sha256");
        (value("name").to_owned(), self.cache.join("blobs/sha256").join(&sha256[..2]).join(&sha256[2..]))
    }

    /// Returns how many packages a lock has for the image.
    pub fn lock_lines(&self, lock: &str) -> usize {
        let text = fs::read_to_string(self.path(lock)).expect("the lock is there");
        let image = text.split("\ntools = [").next().unwrap_or_default();
        image.split("\npackages = [").nth(1).unwrap_or_default().matches("{ name = ").count()
    }

    /// Lets everybody in, for tests that change the user.
    pub fn open(&self) {
        fs::set_permissions(self.folder.path(), fs::Permissions::from_mode(0o777)).expect("the folder is ours");
    }
}

impl Done {
    pub fn of(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// The same, if all went well.
    #[track_caller]
    pub fn well(self) -> Self {
        assert_eq!(self.code, Some(0), "{}\n{}", self.stdout, self.stderr);
        self
    }

    /// The same, if it ended with `code`.
    #[track_caller]
    pub fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
        self
    }
}

/// What a first start does once more though the image has it; on an emulated Arm machine it takes minutes.
pub const CALM: &str =
    "[services]\nmask = [\"e2scrub_reap\", \"ldconfig\", \"modprobe@drm\", \"systemd-journal-catalog-update\"]\n\n";

/// Reads a document beside an artifact.
pub fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(path).expect("the document is there")).expect("it is JSON")
}

/// Runs a tool that the tests compare with and returns what it prints.
#[track_caller]
pub fn tool(program: &str, words: &[&str]) -> String {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program).args(words).env("PATH", path).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("run {program} ({error}); `scripts/setup --tests` installs it"));
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {words:?}: {}\n{said}", output.status);
    said
}
