//! A small Alpine: packages in its format and under its names, made of Debian's programs, that work and start a machine.
//!
//! What Alpine takes from musl comes from Debian's glibc; busybox, OpenRC, kernel and boot loader are Debian's builds of the same
//! programs. Scripts, triggers, services and initrd are written here, as small as will do.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use kiln_testkit::{Apk, ApkHash, ApkKey, Server, apk_index};

use super::{Bench, tool};

/// The machines that it starts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    Pc,
    RaspberryPi,
}

impl Machine {
    /// Its architecture, as Debian and as Alpine call it.
    fn architectures(self) -> (&'static str, &'static str) {
        match self {
            Self::Pc => ("amd64", "x86_64"),
            Self::RaspberryPi => ("arm64", "aarch64"),
        }
    }

    /// Debian's kernel for it, and what its firmware starts.
    fn start(self) -> [&'static str; 2] {
        match self {
            Self::Pc => ["linux-image-cloud-amd64", "systemd-boot-efi"],
            Self::RaspberryPi => ["linux-image-arm64", "raspi-firmware"],
        }
    }

    /// Alpine's name of its kernel, after `linux-`.
    fn flavour(self) -> &'static str {
        match self {
            Self::Pc => "lts",
            Self::RaspberryPi => "rpi",
        }
    }

    /// Beginnings of the names of the modules it needs; all of them would be thousands of files.
    fn modules(self) -> &'static [&'static str] {
        match self {
            Self::Pc => &["virtio", "net_failover", "failover"],
            Self::RaspberryPi => &["mmc_", "bcm2835", "sdhci", "cqhci"],
        }
    }

    /// The packages of Debian 12 that it is made of.
    fn source(self) -> String {
        let ((debian, _), [kernel, loader]) = (self.architectures(), self.start());
        format!(
            "edition = 1\nname = \"alpine-parts\"\n\n[base]\ndistribution = \"debian\"\nrelease = \"12\"\narchitecture = \"{debian}\"\n\
             components = [\"main\", \"non-free-firmware\"]\n\n[packages]\nbase = \"essential\"\ninclude = [\"busybox-static\", \"openrc\", \
             \"{kernel}\", \"{loader}\", \"fdisk\", \"e2fsprogs\", \"dosfstools\"]\n\n[[output]]\nformat = \"tar\"\n"
        )
    }
}

/// Packages of libraries, which come as one.
const LIBRARIES: [&str; 26] = [
    "libc6",
    "libselinux1",
    "libpcre2-8-0",
    "libaudit1",
    "libcap-ng0",
    "libpam0g",
    "libeinfo1",
    "librc1",
    "libcrypt1",
    "libfdisk1",
    "libblkid1",
    "libuuid1",
    "libmount1",
    "libsmartcols1",
    "libreadline8",
    "libtinfo6",
    "libncursesw6",
    "libext2fs2",
    "libcom-err2",
    "libss2",
    "zlib1g",
    "libzstd1",
    "liblzma5",
    "libgcc-s1",
    "libcap2",
    "libudev1",
];

/// A mirror that serves it, and the key that signs it.
pub struct Mirror {
    pub server: Server,
    pub key: ApkKey,
}

/// Its key's file, beside the recipes.
pub const KEY: &str = "fixture.rsa.pub";

impl Mirror {
    /// Makes the packages for a PC and serves them as `/v3.22/main`, with an empty `/v3.22/community`.
    pub fn new(bench: &Bench) -> Self {
        Self::of(bench, Machine::Pc)
    }

    /// The same for a machine.
    pub fn of(bench: &Bench, machine: Machine) -> Self {
        let key = ApkKey::new(KEY, false);
        bench.write(KEY, &key.pem());
        let parts = Parts::new(bench, machine);
        let (root, (_, architecture)) = (bench.path("alpine"), machine.architectures());
        publish(&root.join("v3.22/main").join(architecture), &packages(&parts), &key);
        publish(&root.join("v3.22/community").join(architecture), &[], &key);
        Self { server: Server::start(&root), key }
    }
}

/// A signed repository of Alpine 3.23 that is all a test's own, and the bench whose recipes name it.
pub struct House {
    pub bench: Bench,
    pub server: Server,
    pub key: ApkKey,
}

impl House {
    pub fn new() -> Self {
        let (bench, key) = (Bench::new(), ApkKey::new(KEY, false));
        bench.write(KEY, &key.pem());
        let root = bench.path("alpine");
        fs::create_dir_all(&root).unwrap();
        Self { server: Server::start(&root), bench, key }
    }

    /// Puts packages for an architecture, as Alpine calls it, in the place of those that were there.
    pub fn publish(&self, architecture: &str, packages: &[Apk]) {
        publish(&self.bench.path(&format!("alpine/v3.23/main/{architecture}")), packages, &self.key);
        publish(&self.bench.path(&format!("alpine/v3.23/community/{architecture}")), &[], &self.key);
    }

    /// Returns the first lines of a recipe that builds from it.
    pub fn base(&self, name: &str, architecture: &str) -> String {
        format!(
            "edition = 1\nname = \"{name}\"\n\n[base]\ndistribution = \"alpine\"\nrelease = \"3.23\"\narchitecture = \"{architecture}\"\n\
             mirror = \"{}\"\nkey = \"{KEY}\"\n",
            self.server.url("").trim_end_matches('/')
        )
    }
}

/// Puts programs of this machine into a package, `/bin/sh` among them as a rule, with the libraries that they need.
pub fn shell(apk: Apk, programs: &[&str]) -> Apk {
    let listed: String = programs.iter().map(|program| tool("ldd", &[program])).collect();
    let libraries: BTreeSet<&str> = listed.split_whitespace().filter(|word| word.starts_with('/')).collect();
    programs
        .iter()
        .copied()
        .chain(libraries)
        .fold(apk, |apk, file| apk.file(file.trim_start_matches('/'), 0o755, fs::read(file).unwrap()))
}

/// Writes packages and their signed list into a folder.
pub fn publish(folder: &Path, packages: &[Apk], key: &ApkKey) {
    fs::create_dir_all(folder).unwrap();
    let signed = Some((key, ApkHash::Sha256));
    for package in packages {
        fs::write(folder.join(package.file_name()), package.build(signed)).unwrap();
    }
    fs::write(folder.join("APKINDEX.tar.gz"), apk_index("v3.22", packages, signed)).unwrap();
}

/// The files of Debian's packages.
struct Parts {
    folder: tempfile::TempDir,
    machine: Machine,
    /// Version of the kernel: `6.1.0-40-cloud-amd64`.
    kernel: String,
}

impl Parts {
    fn new(bench: &Bench, machine: Machine) -> Self {
        bench.write("alpine-parts.toml", &machine.source());
        bench.ok(&["lock", "--fetch", "alpine-parts.toml"]);
        let folder = tempfile::tempdir().unwrap();
        let mut kernel = String::new();
        for (control, file) in bench.packages("alpine-parts.lock") {
            let name = control.lines().find_map(|line| line.strip_prefix("Package: ")).unwrap();
            let to = folder.path().join(name);
            tool("dpkg-deb", &["-x", &file.display().to_string(), &to.display().to_string()]);
            if let Some(version) = name.strip_prefix("linux-image-").filter(|version| version.starts_with('6')) {
                kernel = version.to_owned();
            }
        }
        Self { folder, machine, kernel }
    }

    /// A package with nothing in it yet.
    fn package(&self, name: &str) -> Apk {
        Apk::new(name, "1.0-r0").arch(self.machine.architectures().1)
    }

    /// Adds the files of one of Debian's packages that `wanted` lets through, by the names that it gives them.
    fn into(&self, mut apk: Apk, deb: &str, wanted: &dyn Fn(&str) -> Option<String>) -> Apk {
        let root = self.folder.path().join(deb);
        assert!(root.is_dir(), "{deb} is not among the parts");
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            let mut entries: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
            entries.sort();
            for path in entries {
                let facts = fs::symlink_metadata(&path).unwrap();
                if facts.is_dir() {
                    folders.push(path);
                    continue;
                }
                let own = path.strip_prefix(&root).unwrap().display().to_string();
                let Some(name) = wanted(&own) else { continue };
                apk = match facts.is_symlink() {
                    true => apk.symlink(&name, &fs::read_link(&path).unwrap().display().to_string()),
                    false => apk.file(&name, facts.mode() & 0o7777, fs::read(&path).unwrap()),
                };
            }
        }
        apk
    }
}

/// Everything but documentation.
fn all(name: &str) -> Option<String> {
    (!name.starts_with("usr/share/")).then(|| name.to_owned())
}

fn packages(parts: &Parts) -> Vec<Apk> {
    let only = |wanted: &'static [&str]| move |name: &str| wanted.contains(&name).then(|| name.to_owned());
    let libraries = LIBRARIES.iter().filter(|name| parts.folder.path().join(name).is_dir());
    let libc = libraries.fold(parts.package("musl").field("provides", "so:libc.so.6"), |apk, deb| {
        parts.into(apk, deb, &|name| all(name).filter(|name| !name.contains("/gconv/")))
    });
    vec![
        baselayout(parts),
        libc,
        parts
            .into(parts.package("busybox"), "busybox-static", &|name| (name == "bin/busybox").then(|| name.to_owned()))
            .depends("musl")
            .field("provides", "cmd:sh=1.0-r0")
            // What comes before any other script needs a shell.
            .symlink("bin/sh", "/bin/busybox")
            .script("post-install", BUSYBOX)
            .script("trigger", "#!/bin/sh\nexec /bin/busybox true\n")
            .field("triggers", "/bin /usr/bin /sbin /usr/sbin /lib/modules/*"),
        openrc(parts),
        mkinitfs(parts),
        kernel(parts),
        loader(parts),
        parts.into(
            parts.package("e2fsprogs").depends("so:libc.so.6"),
            "e2fsprogs",
            &only(&["sbin/e2fsck", "sbin/mke2fs"]),
        ),
        parts.into(parts.package("e2fsprogs-extra").depends("so:libc.so.6"), "e2fsprogs", &only(&["sbin/resize2fs"])),
        parts.into(parts.package("sfdisk").depends("so:libc.so.6"), "fdisk", &only(&["sbin/sfdisk"])),
        parts.into(parts.package("partx").depends("so:libc.so.6"), "util-linux", &only(&["usr/bin/partx"])),
        parts.into(parts.package("dosfstools").depends("so:libc.so.6"), "dosfstools", &only(&["sbin/fsck.fat"])),
        parts.package("tzdata").arch("noarch").file("usr/share/zoneinfo/Etc/UTC", 0o644, UTC),
        parts.package("alpine-keys").arch("noarch").file("etc/apk/keys/README", 0o644, "The keys of the archive.\n"),
        parts.package("alpine-release").arch("noarch").file("etc/alpine-release", 0o644, "3.22.0\n").file(
            "etc/os-release",
            0o644,
            "NAME=\"Alpine Linux\"\nID=alpine\nVERSION_ID=3.22.0\nPRETTY_NAME=\"Alpine Linux v3.22\"\n",
        ),
        ["alpine-baselayout", "alpine-release", "alpine-keys", "busybox", "openrc"]
            .into_iter()
            .fold(parts.package("alpine-base").arch("noarch"), Apk::depends),
        // Somebody who makes a user, as daemons do.
        parts
            .package("chrony")
            .arch("noarch")
            .depends("busybox")
            .script("pre-install", CHRONY)
            .file("var/lib/chrony/drift", 0o640, "0\n")
            .file("etc/chrony/chrony.conf", 0o644, "pool pool.ntp.org\n"),
    ]
}

fn baselayout(parts: &Parts) -> Apk {
    let mut apk = parts.package("alpine-baselayout").arch("noarch").depends("cmd:sh");
    for folder in [
        "dev",
        "etc",
        "home",
        "media",
        "mnt",
        "proc",
        "run",
        "sys",
        "usr/local",
        "var/cache",
        "var/log",
        "var/spool",
        "boot",
    ] {
        apk = apk.dir(folder, 0o755);
    }
    apk.dir("root", 0o700)
        .dir("tmp", 0o1777)
        .dir("var/empty", 0o555)
        .symlink("var/run", "/run")
        .file("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n")
        .file("etc/group", 0o644, "root:x:0:root\ntty:x:5:\nwheel:x:10:root\nnobody:x:65534:\n")
        .file("etc/shadow", 0o640, "root:::0:::::\nnobody:!::0:::::\n")
        .file("etc/shells", 0o644, "/bin/sh\n/bin/ash\n")
        .file(
            "etc/profile",
            0o644,
            "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
              for script in /etc/profile.d/*.sh; do [ -r \"$script\" ] && . \"$script\"; done\n",
        )
        .file("etc/securetty", 0o644, "console\ntty1\nttyS0\nttyAMA0\n")
        .file("etc/inittab", 0o644, "::sysinit:/sbin/openrc sysinit\n")
        .file("etc/hosts", 0o644, "127.0.0.1\tlocalhost\n")
}

/// Debian's OpenRC, with services in place of those that Alpine has.
fn openrc(parts: &Parts) -> Apk {
    let own =
        |name: &str| all(name).filter(|name| !name.starts_with("etc/init.d/rc") && !name.starts_with("etc/runlevels"));
    let mut apk = parts.into(parts.package("openrc").depends("so:libc.so.6").depends("busybox"), "openrc", &own);
    for level in ["sysinit", "boot", "default", "shutdown"] {
        apk = apk.dir(&format!("etc/runlevels/{level}"), 0o755);
    }
    let service = |depends: &str, start: &str| {
        format!("#!/sbin/openrc-run\ndepend() {{\n    {depends}\n}}\nstart() {{\n    {start}\n}}\n")
    };
    for (name, depends, start) in [
        ("devfs", "provide dev", "mountpoint -q /dev/pts || { mkdir -p /dev/pts; mount -t devpts devpts /dev/pts; }"),
        ("mdev", "need devfs", "mdev -s"),
        ("modules", "need root", "modprobe -a virtio_net af_packet || :"),
        ("swclock", "provide clock", "touch -c /var/lib/misc/openrc-shutdowntime"),
        ("hostname", ":", "hostname -F /etc/hostname"),
        ("root", "need dev", "mount -o remount,rw /"),
        ("localmount", "need root", "mount -a"),
        ("bootmisc", "need localmount", "date >/var/log/booted"),
        ("networking", "need localmount hostname modules", "ifup -a"),
        ("mount-ro", ":", "sync; umount -a -r 2>/dev/null; mount -o remount,ro /"),
    ] {
        apk = apk.file(&format!("etc/init.d/{name}"), 0o755, service(depends, start));
    }
    apk.file("etc/insserv.conf", 0o644, "").file(
        "etc/udhcpc/default.script",
        0o755,
        "#!/bin/sh\n[ \"$1\" = bound ] && ifconfig \"$interface\" \"$ip\"\nexit 0\n",
    )
}

fn loader(parts: &Parts) -> Apk {
    let [_, deb] = parts.machine.start();
    match parts.machine {
        Machine::Pc => parts.into(parts.package("systemd-boot"), deb, &all),
        Machine::RaspberryPi => {
            let blob = |name: &str| Some(format!("boot/{}", name.strip_prefix("usr/lib/raspi-firmware/")?));
            parts.into(parts.package("raspberrypi-bootloader"), deb, &blob)
        }
    }
}

fn kernel(parts: &Parts) -> Apk {
    let (version, flavour) = (parts.kernel.clone(), parts.machine.flavour());
    let (image, modules) = (format!("boot/vmlinuz-{version}"), format!("lib/modules/{version}/"));
    let usual = ["ext4", "jbd2", "mbcache", "crc16", "crc32c", "libcrc32c", "af_packet", "fat", "vfat", "nls_"];
    let tree = format!("usr/lib/linux-image-{version}/broadcom/");
    let wanted = move |name: &str| {
        if name == image {
            return Some(format!("boot/vmlinuz-{flavour}"));
        }
        if let Some(tree) = name.strip_prefix(&tree) {
            return tree.starts_with("bcm2837-").then(|| format!("boot/{tree}"));
        }
        let file = name.strip_prefix(&modules)?;
        let stem = file.rsplit('/').next().unwrap();
        let list = file.starts_with("modules.");
        let needed = usual.iter().chain(parts.machine.modules()).any(|needed| stem.starts_with(needed));
        (list || needed).then(|| name.to_owned())
    };
    let apk = parts.package(&format!("linux-{flavour}")).depends("mkinitfs");
    parts
        .into(apk, &format!("linux-image-{version}"), &wanted)
        .file(&format!("usr/share/kernel/{flavour}/kernel.release"), 0o644, format!("{version}\n"))
        .script("post-install", &format!("#!/bin/sh\nexec depmod {version}\n"))
}

fn mkinitfs(parts: &Parts) -> Apk {
    let apk = parts.package("mkinitfs").depends("busybox").depends("so:libc.so.6");
    // Debian's busybox writes archives that differ from run to run.
    parts
        .into(apk, "cpio", &|name| (name == "bin/cpio").then(|| "usr/libexec/cpio".to_owned()))
        .file("sbin/mkinitfs", 0o755, MKINITFS)
        .file("usr/share/mkinitfs/init", 0o755, INIT)
        .script("trigger", MKINITFS_TRIGGER)
        .field("triggers", "/usr/share/kernel/*")
}

/// One time all year round (tzfile(5), version 1).
const UTC: &[u8] =
    b"TZif\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x04\0\0\0\0\0\0UTC\0";

const CHRONY: &str = "#!/bin/sh\ngrep -q ^chrony: /etc/group || echo chrony:x:123: >>/etc/group\n\
     grep -q ^chrony: /etc/passwd || echo chrony:x:123:123:chrony:/var/lib/chrony:/sbin/nologin >>/etc/passwd\n";

/// The links of busybox.
const BUSYBOX: &str = "#!/bin/busybox sh\nset -e\nfor applet in $(/bin/busybox --list-full); do\n\
     \x20   [ -e \"/$applet\" ] || { mkdir -p \"/${applet%/*}\"; ln -s /bin/busybox \"/$applet\"; }\ndone\n\
     # Debian's is built without them.\n[ -e /sbin/nologin ] || ln -s /bin/busybox /sbin/nologin\n";

const MKINITFS_TRIGGER: &str = "#!/bin/sh\nset -e\nfor folder in \"$@\"; do\n\
     \x20   mkinitfs -o \"/boot/initramfs-${folder##*/}\" \"$(cat \"$folder/kernel.release\")\"\ndone\n";

const MKINITFS: &str = "#!/bin/sh\n# mkinitfs -o FILE VERSION\nset -e\nwork=$(mktemp -d)\ntrap 'rm -rf \"$work\"' EXIT\n\
     mkdir -p \"$work/bin\" \"$work/lib/modules\" \"$work/dev\" \"$work/proc\" \"$work/sys\" \"$work/sysroot\"\n\
     cp /bin/busybox \"$work/bin/busybox\"\ncp /usr/share/mkinitfs/init \"$work/init\"\ncp -a \"/lib/modules/$3\" \"$work/lib/modules/\"\n\
     find \"$work\" -exec touch -h -d @\"${SOURCE_DATE_EPOCH:-0}\" {} +\n\
     (cd \"$work\" && find . | sort | /usr/libexec/cpio --quiet --reproducible -o -H newc | gzip -9) >\"$2\"\n";

const INIT: &str = "#!/bin/busybox sh\nexport PATH=/bin\n/bin/busybox --install -s /bin 2>/dev/null || for applet in $(/bin/busybox --list); do \
     /bin/busybox ln -s busybox /bin/$applet 2>/dev/null; done\nmount -t proc proc /proc\nmount -t sysfs sysfs /sys\nmount -t devtmpfs dev /dev\n\
     for module in virtio_pci virtio_blk virtio_scsi sdhci_iproc bcm2835 mmc_block crc32c_generic ext4; do modprobe $module 2>/dev/null; done\n\
     for word in $(cat /proc/cmdline); do case $word in root=*) root=${word#root=} ;; rootfstype=*) kind=${word#*=} ;; esac; done\n\
     for try in 1 2 3 4 5 6 7 8 9 10; do device=$(findfs \"$root\" 2>/dev/null) && break; sleep 1; mdev -s; done\n\
     mount -t \"$kind\" -o ro \"$device\" /sysroot || exec sh\n\
     for at in dev proc sys; do mount -o move /$at /sysroot/$at; done\nexec switch_root /sysroot /sbin/init\n";
