//! Programs whose native builds may stand in for those of a tree of another architecture while its scripts run.
//!
//! What they do does not depend on the machine they were built for: interpreters of scripts, and tools that work on files.
//! Not lent are programs that tell which machine they run on (`uname`, `arch`, `dpkg`, `dpkg-query`, `getconf`), that look at
//! the tree's own programs (`ldconfig`, `ldd`, `stdbuf`), or that nobody waits for.

use crate::lock::Locked;

/// A package, and its programs: names below `/usr/bin` and `/usr/sbin`, or whole paths.
pub type Lent = (&'static str, &'static [&'static str]);

/// Every package with programs to lend.
pub const LENT: [Lent; 20] = [
    ("bash", &["bash"]),
    ("coreutils", &COREUTILS),
    ("cpio", &["cpio"]),
    ("dash", &["dash"]),
    ("debianutils", &["run-parts", "tempfile"]),
    ("diffutils", &["cmp", "diff"]),
    ("dpkg", &["dpkg-deb", "dpkg-divert", "dpkg-statoverride", "update-alternatives"]),
    ("dracut-install", &[DRACUT_INSTALL]),
    ("findutils", &["find", "xargs"]),
    ("gawk", &["gawk"]),
    ("grep", &["grep"]),
    ("gzip", &["gzip"]),
    ("kmod", &["kmod"]),
    ("libc-bin", &["localedef"]),
    ("mawk", &["mawk"]),
    ("perl-base", &["perl"]),
    ("sed", &["sed"]),
    ("tar", &["tar"]),
    ("util-linux", &["flock", "getopt", "mountpoint"]),
    ("zstd", &["zstd"]),
];

const COREUTILS: [&str; 79] = [
    "[",
    "b2sum",
    "base32",
    "base64",
    "basename",
    "basenc",
    "cat",
    "chcon",
    "chgrp",
    "chmod",
    "chown",
    "cksum",
    "comm",
    "cp",
    "csplit",
    "cut",
    "date",
    "dd",
    "df",
    "dir",
    "dircolors",
    "dirname",
    "du",
    "echo",
    "env",
    "expand",
    "expr",
    "factor",
    "false",
    "fmt",
    "fold",
    "head",
    "install",
    "join",
    "link",
    "ln",
    "ls",
    "md5sum",
    "mkdir",
    "mkfifo",
    "mknod",
    "mktemp",
    "mv",
    "nice",
    "nl",
    "nohup",
    "numfmt",
    "od",
    "paste",
    "printf",
    "readlink",
    "realpath",
    "rm",
    "rmdir",
    "seq",
    "sha1sum",
    "sha256sum",
    "sha512sum",
    "shuf",
    "sleep",
    "sort",
    "split",
    "stat",
    "sum",
    "sync",
    "tac",
    "tail",
    "tee",
    "test",
    "timeout",
    "touch",
    "tr",
    "true",
    "truncate",
    "tsort",
    "uniq",
    "unlink",
    "vdir",
    "wc",
];

/// What puts kernel modules into an initrd. Emulated on a machine of 64 bits, its build for 32 bits finds no modules: it asks for
/// directories by an old call, whose numbers are too small for what ext4 answers there.
pub const DRACUT_INSTALL: &str = "/usr/lib/dracut/dracut-install";

/// The program whose modules are libraries too: it is only lent with all that its scripts may load.
pub const PERL: &str = "perl";

/// Whether a package brings modules for Perl, or what they need.
pub fn is_perl(package: &str) -> bool {
    package == "perl" || package.starts_with("libperl5.") || package.ends_with("-perl")
}

/// Whether two packages were built from the same sources; a rebuild for one architecture does not count.
pub fn same_sources(one: &Locked, other: &Locked) -> bool {
    let of = |package: &Locked| {
        let version = package.source_version.clone().unwrap_or_else(|| package.version.clone());
        (package.source.clone().unwrap_or_else(|| package.name.clone()), version)
    };
    of(one) == of(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_names_nothing_twice() {
        let packages: Vec<&str> = LENT.iter().map(|(package, _)| *package).collect();
        assert!(packages.is_sorted(), "{packages:?}");
        let mut programs: Vec<&str> = LENT.iter().flat_map(|(_, programs)| programs.iter().copied()).collect();
        assert!(COREUTILS.is_sorted());
        let count = programs.len();
        programs.sort_unstable();
        programs.dedup();
        assert_eq!(programs.len(), count);
        for telling in ["uname", "arch", "dpkg", "dpkg-query", "getconf", "ldconfig", "ldd", "stdbuf", "nproc"] {
            assert!(!programs.contains(&telling), "{telling}");
        }
    }

    #[test]
    fn a_rebuild_has_the_same_sources() {
        let locked = |version: &str, source_version: Option<&str>| Locked {
            name: "grep".into(),
            version: version.into(),
            architecture: "arm64".into(),
            repository: "main".into(),
            filename: "pool/grep.deb".into(),
            size: 1,
            installed: None,
            sha256: kiln_model::Digest::of(version),
            base: true,
            essential: true,
            manual: false,
            in_tree: false,
            promoted: false,
            why: "base".into(),
            source: None,
            source_version: source_version.map(str::to_owned),
        };
        assert!(same_sources(&locked("3.11-4", None), &locked("3.11-4+b1", Some("3.11-4"))));
        assert!(!same_sources(&locked("3.11-4", None), &locked("3.11-5", None)));
    }
}
