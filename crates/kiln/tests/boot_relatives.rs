//! Debian's relatives, which no mirror here has: Debian's own packages, published as each of them publishes its own, with the
//! packages, suites, components and keys that are called differently there.

mod common;

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use common::{Bench, Done, tool};
use kiln_testkit::{Archive, Deb, Key, Pack, Server};

/// What an archive of ours is made from, and where it is served.
struct House {
    bench: Bench,
    architecture: &'static str,
    key: Key,
    debs: Vec<(String, Vec<u8>)>,
}

impl House {
    /// Fetches the packages of a recipe by building it.
    fn new(architecture: &'static str, recipe: &str) -> Self {
        let bench = Bench::shared();
        bench.write("source.toml", recipe);
        bench.ok(&["build", "--no-verify", "source.toml"]);
        let debs = bench.packages("source.lock").into_iter();
        let debs = debs.map(|(control, file)| (control, fs::read(file).unwrap())).collect();
        Self { bench, architecture, key: Key::new(), debs }
    }

    /// Serves one suite for each of `suites`, the packages in the first; `place` says the component of each, or that it is left out.
    fn serve(&self, suites: &[&str], place: impl Fn(&str) -> Option<&'static str>, own: Vec<(&str, Deb)>) -> Server {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
        let root = self.bench.path("archive");
        let made = |suite: &str| Archive::new(suite, now - 60).architectures(&[self.architecture]).packs(&[Pack::Xz]);
        let mut first = made(suites[0]);
        for (control, bytes) in &self.debs {
            let name = control.lines().find_map(|line| line.strip_prefix("Package: ")).unwrap();
            if let Some(component) = place(name) {
                first = first.deb_in(component, Deb::found(control, bytes.clone()));
            }
        }
        for (component, deb) in own {
            first = first.deb_in(component, deb);
        }
        first.write(&root, &self.key);
        // A suite has the components of the first, with next to nothing in them.
        let later = |suite: &str| made(suite).deb_in("universe", Deb::new("nothing", "1"));
        suites[1..].iter().for_each(|suite| later(suite).write(&root, &self.key));
        self.bench.write("keys.asc", &self.key.armored());
        Server::start(&root)
    }

    fn keyring(&self, package: &str, path: &str) -> Deb {
        Deb::new(package, "1").field("Provides", "debian-archive-keyring").file(path, 0o644, self.key.keyring())
    }

    /// Builds a recipe against `server` alone and returns where its folder is.
    fn build(&self, server: &Server, text: &str) -> String {
        self.bench.write("relative.toml", &text.replace("MIRROR", &server.url("")));
        self.bench.ok(&["build", "--no-verify", "relative.toml"]);
        self.bench.path("out").display().to_string()
    }
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

const KERNEL: &str = "linux-image-6";

/// A PC with Ubuntu's kernel package, half of what it needs from `universe`, and three suites.
#[test]
fn boot_ubuntu_from_an_archive_like_its_own() {
    let house =
        House::new("amd64", &text(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/debian-minimal.toml")));
    let kernel = house.debs.iter().find_map(|(control, _)| {
        let name = control.lines().next()?.strip_prefix("Package: ")?;
        name.starts_with(KERNEL).then(|| name.to_owned())
    });
    let place = |name: &str| match name {
        "linux-image-amd64" | "debian-archive-keyring" => None,
        "systemd-boot" | "systemd-boot-efi" | "zstd" => Some("universe"),
        _ => Some("main"),
    };
    let own = vec![
        ("main", Deb::new("linux-image-generic", "6.8").depends(&kernel.expect("the recipe has a kernel"))),
        ("main", house.keyring("ubuntu-keyring", "/usr/share/keyrings/ubuntu-archive-keyring.gpg")),
    ];
    let server = house.serve(&["noble", "noble-updates", "noble-security"], place, own);
    let out = house.build(
        &server,
        "edition = 1\nname = \"ubuntu\"\n\n[base]\ndistribution = \"ubuntu\"\nrelease = \"24.04\"\nboard = \"generic-x86_64\"\n\
         mirror = \"MIRROR\"\nkey = \"keys.asc\"\nmirror-in-image = \"http://archive.example/ubuntu\"\n\n\
         [[output]]\nformat = \"raw\"\n\n[[output]]\nformat = \"dir\"\n",
    );
    let tree = Path::new(&out).join("ubuntu");
    tool("sfdisk", &["--verify", &format!("{out}/ubuntu.raw")]);
    let sources = text(&tree.join("etc/apt/sources.list.d/ubuntu.sources"));
    for wanted in ["noble", "noble-updates", "noble-security", "main universe", "http://archive.example/ubuntu"] {
        assert!(sources.contains(wanted), "{wanted}: {sources}");
    }
    for name in ["bin", "sbin", "lib", "lib64"] {
        assert_eq!(fs::read_link(tree.join(name)).unwrap(), Path::new("usr").join(name));
    }
    let loader = fs::read_dir(tree.join("boot/efi/loader/entries")).unwrap().map(|entry| entry.unwrap().file_name());
    let loader: Vec<_> = loader.map(|name| name.into_string().unwrap()).collect();
    assert!(loader.len() == 1 && loader[0].starts_with("ubuntu-6"), "{loader:?}");
    tool("dpkg", &["--root", &tree.display().to_string(), "--audit"]);
}

/// Trees of the others: one suite that rolls, and another init.
#[test]
fn boot_kali_and_devuan_from_archives_like_theirs() {
    let house = House::new(
        "amd64",
        "edition = 1\nname = \"source\"\n\n[base]\ndistribution = \"debian\"\nrelease = \"13\"\n\n[packages]\nbase = \"minbase\"\n\
         include = [\"sysvinit-core\", \"locales\"]\n\n[[output]]\nformat = \"tar\"\n",
    );
    let others: [(&str, &str, &[&str], &str, &str); 2] = [
        ("kali", "rolling", &["kali-rolling"], "kali-archive-keyring", "/usr/share/keyrings/kali-archive-keyring.gpg"),
        (
            "devuan",
            "6",
            &["excalibur", "excalibur-updates", "excalibur-security"],
            "devuan-keyring",
            "/usr/share/keyrings/devuan-archive-keyring.gpg",
        ),
    ];
    for (distribution, release, suites, package, path) in others {
        let place = |name: &str| (name != "debian-archive-keyring").then_some("main");
        let server = house.serve(suites, place, vec![("main", house.keyring(package, path))]);
        let out = house.build(
            &server,
            &format!(
                "edition = 1\nname = \"{distribution}\"\n\n[base]\ndistribution = \"{distribution}\"\nrelease = \"{release}\"\n\
                 mirror = \"MIRROR\"\nkey = \"keys.asc\"\n\n[packages]\nbase = \"minbase\"\n\n[system]\nlocale = \"de_DE.UTF-8\"\n\n\
                 [[output]]\nformat = \"dir\"\n"
            ),
        );
        let tree = Path::new(&out).join(distribution);
        let sources = text(&tree.join(format!("etc/apt/sources.list.d/{distribution}.sources")));
        suites.iter().for_each(|suite| assert!(sources.contains(suite), "{suite}: {sources}"));
        let keyring = tree.join(&path[1..]);
        assert_eq!(fs::read(keyring).unwrap(), house.key.keyring(), "{distribution}");
        assert_eq!(fs::read_link(tree.join("bin")).unwrap(), Path::new("usr/bin"), "{distribution}");
        assert!(text(&tree.join("etc/default/locale")).contains("de_DE.UTF-8"), "{distribution}");
        let status = text(&tree.join("var/lib/dpkg/status"));
        assert!(status.contains(&format!("Package: {package}\n")), "{distribution}");
        tool("dpkg", &["--root", &tree.display().to_string(), "--audit"]);
    }
}

/// The versions of kernels as Raspberry Pi names its own, and what the firmware looks for by itself.
const RPI_KERNELS: [(&str, &str, &str); 2] = [
    ("linux-image-rpi-v8", "6.12.47+rpt-rpi-v8", "kernel8.img"),
    ("linux-image-rpi-2712", "6.12.47+rpt-rpi-2712", "kernel_2712.img"),
];

/// What the kernel hook of Raspberry Pi's package does for 64-bit kernels: it copies them under the names the firmware looks for.
const RPI_HOOK: &str = "#!/bin/sh\nset -e\ncase \"$1\" in *-rpi-v8) name=8 ;; *-rpi-2712) name=_2712 ;; *) exit 0 ;; esac\n\
                        fat=/boot/firmware\ninstall -d $fat/overlays\ncp /boot/vmlinuz-$1 $fat/kernel$name.img\n\
                        if [ -e /boot/initrd.img-$1 ]; then cp /boot/initrd.img-$1 $fat/initramfs$name; fi\n\
                        cp /usr/lib/linux-image-$1/broadcom/*.dtb $fat\ncp /usr/lib/linux-image-$1/overlays/* $fat/overlays\n\
                        cp /usr/lib/raspi-firmware/* $fat\n";

/// Makes Debian's kernel one of Raspberry Pi's, with few of its modules.
fn rpi_kernel(bench: &Bench, version: &str) -> Deb {
    let (_, file) = bench.package("source.lock", KERNEL);
    let (file, folder) = (file.display().to_string(), bench.path(version).display().to_string());
    let script = format!(
        "dpkg-deb -R {file} {folder}; cd {folder}; was=$(ls usr/lib/modules); rm -r usr/share DEBIAN/md5sums; \
         for name in vmlinuz config System.map; do mv boot/$name-$was boot/$name-{version}; done; \
         mv usr/lib/modules/$was usr/lib/modules/{version}; mv usr/lib/linux-image-$was usr/lib/linux-image-{version}; \
         cd usr/lib/modules/{version}; mkdir kept; cp -a --parents kernel/fs/ext4 kernel/fs/mbcache* kernel/fs/jbd2 kernel/fs/fat \
         kernel/lib kernel/crypto kernel/drivers/mmc modules.builtin* modules.order kept; rm -r kernel modules.*; mv kept/* .; \
         rmdir kept; cd {folder}; mkdir usr/lib/linux-image-{version}/overlays; \
         echo overlay > usr/lib/linux-image-{version}/overlays/vc4-kms-v3d.dtbo; \
         sed -i s/$was/{version}/g DEBIAN/*; dpkg-deb --root-owner-group -Zgzip -b {folder} {folder}.deb"
    );
    tool("sh", &["-ec", &script]);
    let deb = format!("{folder}.deb");
    Deb::found(&tool("dpkg-deb", &["-f", &deb]), fs::read(&deb).unwrap())
}

/// Debian's archive as it is, and beside it one with the firmware and kernels that Raspberry Pi publishes.
#[test]
fn boot_the_card_of_raspberry_pi_os_from_an_archive_like_its_own() {
    let house = House::new(
        "arm64",
        "edition = 1\nname = \"source\"\n\n[base]\ndistribution = \"debian\"\nrelease = \"13\"\narchitecture = \"arm64\"\n\n\
         [packages]\nbase = \"minbase\"\ninclude = [\"linux-image-arm64\"]\n\n[[output]]\nformat = \"tar\"\n",
    );
    let bench = &house.bench;
    let key = "/usr/share/keyrings/raspberrypi-archive-keyring.pgp";
    let firmware = Deb::new("raspi-firmware", "1:1.20250915-1")
        .arch("all")
        .script("preinst", "#!/bin/sh\nmkdir -p /boot/firmware\n")
        .file("/etc/kernel/postinst.d/z50-raspi-firmware", 0o755, RPI_HOOK)
        .file("/etc/initramfs/post-update.d/z50-raspi-firmware", 0o755, RPI_HOOK);
    let firmware = ["bootcode.bin", "start.elf", "fixup.dat", "start4.elf", "fixup4.dat"]
        .into_iter()
        .fold(firmware, |deb, name| deb.file(&format!("/usr/lib/raspi-firmware/{name}"), 0o644, name));
    let kernels = RPI_KERNELS.iter().flat_map(|(package, version, _)| {
        let meta = Deb::new(package, "1:6.12.47-1+rpt1").arch("arm64");
        [("main", meta.depends(&format!("linux-image-{version}"))), ("main", rpi_kernel(bench, version))]
    });
    let mut own: Vec<_> = kernels.collect();
    own.extend([
        ("main", firmware),
        ("main", Deb::new("raspberrypi-archive-keyring", "2025.1").arch("all").file(key, 0o644, house.key.keyring())),
    ]);
    let server = house.serve(&["trixie"], |_| None, own);
    let boards = [("rpi-3-b", "bcm2837-rpi-3-b.dtb"), ("rpi-5", "bcm2712-rpi-5-b.dtb")];
    for ((board, device_tree), (_, version, kernel)) in boards.into_iter().zip(RPI_KERNELS) {
        let text = format!(
            "edition = 1\nname = \"pios\"\n\n[base]\ndistribution = \"raspios\"\nrelease = \"13\"\narchitecture = \"arm64\"\n\
             board = \"{board}\"\nkey = \"keys.asc\"\nsecurity = false\nupdates = false\n\n[packages]\nbase = \"minbase\"\n\n[boot]\n\
             config-txt = [\"dtparam=i2c_arm=on\"]\n\n[[output]]\nformat = \"raw\"\n"
        );
        bench.write("pios.toml", &text);
        let build =
            bench.kiln(&["build", "--no-verify", "pios.toml"]).env("KILN_MIRROR_RASPI", server.url("")).output();
        Done::of(build.unwrap()).well();
        the_card_is_raspberry_pi_oss(bench, device_tree, kernel, version);
    }
}

#[track_caller]
fn the_card_is_raspberry_pi_oss(bench: &Bench, device_tree: &str, kernel: &str, version: &str) {
    let image = bench.path("out/pios.raw").display().to_string();
    let fat = format!("{image}@@1M");
    let listed = tool("mdir", &["-i", &fat, "::"]).to_lowercase();
    for wanted in ["bootcode bin", "start    elf", device_tree, "overlays"] {
        assert!(listed.contains(wanted), "{wanted}: {listed}");
    }
    let initrd = kernel.replace("kernel", "initramfs").replace(".img", "");
    for name in [kernel, &initrd] {
        tool("mtype", &["-i", &fat, &format!("::{name}")]);
    }
    let read = |name: &str| tool("mtype", &["-i", &fat, &format!("::{name}")]);
    for wanted in ["arm_64bit=1", "auto_initramfs=1", "dtoverlay=vc4-kms-v3d", "enable_uart=1", "dtparam=i2c_arm=on"] {
        assert!(read("config.txt").lines().any(|line| line == wanted), "{wanted}: {}", read("config.txt"));
    }
    let root = tool("blkid", &["-p", "-O", &(513 << 20).to_string(), "-s", "UUID", "-o", "value", &image]);
    let cmdline = read("cmdline.txt");
    for wanted in ["console=serial0,115200", "console=tty1", "rootwait", &format!("root=UUID={}", root.trim())] {
        assert!(cmdline.split_whitespace().any(|word| word == wanted), "{wanted}: {cmdline}");
    }
    let inside =
        |path: &str| tool("debugfs", &["-R", &format!("cat {path}"), &format!("{image}?offset={}", 513 << 20)]);
    let sources = inside("/etc/apt/sources.list.d/raspios.sources");
    for wanted in [
        "/usr/share/keyrings/kiln-base.asc",
        "/usr/share/keyrings/debian-archive-keyring.gpg",
        "Suites: trixie",
        "Components: main\n",
    ] {
        assert!(sources.contains(wanted), "{wanted}: {sources}");
    }
    assert!(inside("/var/lib/dpkg/status").contains(&format!("Package: linux-image-{version}\n")));
}
