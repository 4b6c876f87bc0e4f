//! A small signed Debian archive in a folder.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use kiln_model::Digest;

use crate::{Deb, Key, deb::Pack};

/// What an archive shall hold.
pub struct Archive {
    suite: String,
    date: i64,
    valid_until: Option<i64>,
    by_hash: bool,
    architectures: Vec<String>,
    packs: Vec<Pack>,
    /// Each with its component.
    debs: Vec<(String, Deb)>,
}

impl Archive {
    /// Begins an archive with one suite, the component `main` and one architecture (`amd64`), dated `date`, in seconds
    /// since 1970.
    pub fn new(suite: &str, date: i64) -> Self {
        Self {
            suite: suite.to_owned(),
            date,
            valid_until: None,
            by_hash: true,
            architectures: vec!["amd64".to_owned()],
            packs: vec![Pack::Plain, Pack::Gz, Pack::Xz, Pack::Zst],
            debs: Vec::new(),
        }
    }

    /// Sets `Valid-Until`, in seconds since 1970.
    #[must_use]
    pub fn valid_until(mut self, time: i64) -> Self {
        self.valid_until = Some(time);
        self
    }

    #[must_use]
    pub fn without_by_hash(mut self) -> Self {
        self.by_hash = false;
        self
    }

    #[must_use]
    pub fn architectures(mut self, names: &[&str]) -> Self {
        self.architectures = names.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    /// Sets which forms of each index there are.
    #[must_use]
    pub fn packs(mut self, packs: &[Pack]) -> Self {
        self.packs = packs.to_vec();
        self
    }

    #[must_use]
    pub fn deb(self, deb: Deb) -> Self {
        self.deb_in(MAIN, deb)
    }

    /// Adds a package in another component than `main`; the archive has it then.
    #[must_use]
    pub fn deb_in(mut self, component: &str, deb: Deb) -> Self {
        self.debs.push((component.to_owned(), deb));
        self
    }

    /// Writes the archive into `root`, signed with `key`; what is there is replaced, so an archive can move on.
    ///
    /// # Panics
    /// When a file cannot be written.
    pub fn write(&self, root: &Path, key: &Key) {
        let bytes: Vec<Vec<u8>> = self.debs.iter().map(|(_, deb)| deb.build()).collect();
        for ((component, deb), bytes) in self.debs.iter().zip(&bytes) {
            put(&root.join(pool(component, deb)), bytes);
        }
        let suite = root.join("dists").join(&self.suite);
        let mut sums = String::new();
        for component in self.components() {
            for architecture in &self.architectures {
                self.write_indexes(&suite, component, architecture, &bytes, &mut sums);
            }
        }
        let release = self.release(&sums);
        put(&suite.join("Release"), release.as_bytes());
        put(&suite.join("Release.gpg"), key.sign_detached(release.as_bytes()).as_bytes());
        put(&suite.join("InRelease"), key.sign_inline(&release).as_bytes());
    }

    /// `main`, and those that packages are in.
    fn components(&self) -> BTreeSet<&str> {
        self.debs.iter().map(|(component, _)| component.as_str()).chain([MAIN]).collect()
    }

    fn write_indexes(&self, suite: &Path, component: &str, architecture: &str, bytes: &[Vec<u8>], sums: &mut String) {
        let folder = format!("{component}/binary-{architecture}");
        let index = self.packages(component, architecture, bytes);
        for pack in &self.packs {
            let (name, packed) = (format!("{folder}/Packages{}", pack.ending()), pack.pack(index.as_bytes()));
            let digest = Digest::of(&packed);
            sums.push_str(&format!(" {digest} {} {name}\n", packed.len()));
            put(&suite.join(&name), &packed);
            if self.by_hash {
                put(&suite.join(format!("{folder}/by-hash/SHA256/{digest}")), &packed);
            }
        }
        // Archives list the plain form even where they do not have it.
        if !self.packs.contains(&Pack::Plain) {
            sums.push_str(&format!(" {} {} {folder}/Packages\n", Digest::of(&index), index.len()));
        }
    }

    /// Returns `Packages` of one component for one architecture.
    fn packages(&self, component: &str, architecture: &str, bytes: &[Vec<u8>]) -> String {
        let fits = |deb: &Deb| deb.architecture() == architecture || deb.architecture() == "all";
        let entry = |((_, deb), bytes): (&(String, Deb), &Vec<u8>)| {
            let (control, pool, size, digest) = (deb.control(), pool(component, deb), bytes.len(), Digest::of(bytes));
            format!("{control}Filename: {}\nSize: {size}\nSHA256: {digest}\n\n", pool.display())
        };
        let wanted = |((of, deb), _): &(&(String, Deb), &Vec<u8>)| of == component && fits(deb);
        self.debs.iter().zip(bytes).filter(wanted).map(entry).collect()
    }

    fn release(&self, sums: &str) -> String {
        let mut text = format!("Origin: Test\nLabel: Test\nSuite: {0}\nCodename: {0}\n", self.suite);
        text.push_str(&format!("Date: {}\n", date(self.date)));
        if let Some(time) = self.valid_until {
            text.push_str(&format!("Valid-Until: {}\n", date(time)));
        }
        if self.by_hash {
            text.push_str("Acquire-By-Hash: yes\n");
        }
        let components: Vec<&str> = self.components().into_iter().collect();
        let (architectures, components) = (self.architectures.join(" "), components.join(" "));
        text.push_str(&format!("Architectures: {architectures}\nComponents: {components}\n"));
        text + "SHA256:\n" + sums
    }
}

fn pool(component: &str, deb: &Deb) -> PathBuf {
    Path::new("pool").join(component).join(deb.file_name())
}

const MAIN: &str = "main";

/// Writes a time as `Release` files do.
fn date(time: i64) -> String {
    let time = Timestamp::from_second(time).expect("a time within the calendar");
    time.strftime("%a, %d %b %Y %H:%M:%S UTC").to_string()
}

fn put(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("make a folder of the archive");
    fs::write(path, bytes).expect("write a file of the archive");
}
