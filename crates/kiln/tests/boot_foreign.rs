//! Trees of other architectures, from the real mirror, without a step on the host.

mod common;

use common::{Bench, tool};

fn recipe(architecture: &str) -> String {
    format!(
        "edition = 1\nname = \"{architecture}\"\n\n[base]\ndistribution = \"debian\"\nrelease = \"13\"\n\
         architecture = \"{architecture}\"\nsecurity = false\nupdates = false\n\n[packages]\nbase = \"minbase\"\ninclude = [\"locales\"]\n\n\
         [system]\nlocale = \"de_DE.UTF-8\"\n\n[[output]]\nformat = \"tar\"\n"
    )
}

fn digest(bench: &Bench, name: &str) -> String {
    let sums = std::fs::read_to_string(bench.path("out/SHA256SUMS")).unwrap();
    sums.lines().find(|line| line.ends_with(name)).unwrap().to_owned()
}

/// What the machine's own shells and Perl do is what the tree's own do under emulation, byte by byte.
#[test]
fn boot_native_helpers_leave_the_bytes_as_they_are() {
    let bench = Bench::shared();
    bench.write("arm64.toml", &recipe("arm64"));
    bench.ok(&["lock", "--fetch", "arm64.toml"]);
    // The emulator and what is lent were fetched, too.
    bench.ok(&["build", "arm64.toml", "--force", "--offline"]);
    let lent = digest(&bench, "arm64.tar");
    let log = std::fs::read_to_string(bench.path("out/arm64.log")).unwrap();
    assert!(!log.contains("none are lent"), "{log}");
    let mut emulated = bench.kiln(&["build", "arm64.toml", "--force"]);
    // As on kernels that have `binfmt_misc` for the host alone, where nothing is lent either; what is registered goes again.
    let output = emulated.env("KILN_EMULATORS", "host").output().unwrap();
    common::Done::of(output).well();
    if tool("id", &["-u"]).trim() != "0" {
        return;
    }
    let listed = tool("unshare", &["--mount", "sh", "-c", "mount -t binfmt_misc none /mnt && ls /mnt"]);
    assert!(!listed.contains("kiln-"), "{listed}");
    assert_eq!(digest(&bench, "arm64.tar"), lent);
}

#[test]
fn boot_trees_of_every_architecture_run() {
    let bench = Bench::shared();
    for (architecture, machine) in
        [("arm64", "aarch64"), ("armhf", "armv7l"), ("riscv64", "riscv64"), ("i386", "x86_64")]
    {
        let name = format!("{architecture}.toml");
        bench.write(&name, &recipe(architecture));
        bench.ok(&["build", &name]);
        let script = "uname -m; dpkg --print-architecture; dpkg --audit; apt-get check >/dev/null && dpkg --verify | grep -v ' c /etc'; \
                      ls -d /run/kiln /lib64 2>/dev/null; locale -a | grep de_DE; perl -e 'print \"perl\\n\"'";
        let told = bench.ok(&["shell", &name, "--", "sh", "-c", script]).stdout;
        let wanted = format!("{machine}\n{architecture}\nde_DE.utf8\nperl\n");
        assert_eq!(told.replace("\r\n", "\n"), wanted, "{architecture}");
    }
}
