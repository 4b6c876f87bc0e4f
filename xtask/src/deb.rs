//! A Debian package of kiln for the machine it is made on: binary, units, completions, documents. That very kiln makes it, with the
//! dpkg-deb of a tree of Debian's.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::tool::{Done, cargo, root};

/// What lies where in the package: (source, destination, mode).
const FILES: &[(&str, &str, u32)] = &[
    ("packaging/kiln-serve.service", "usr/lib/systemd/system/kiln-serve.service", 0o644),
    ("packaging/kiln-node.service", "usr/lib/systemd/system/kiln-node.service", 0o644),
    ("packaging/postinst", "DEBIAN/postinst", 0o755),
    ("packaging/prerm", "DEBIAN/prerm", 0o755),
    ("packaging/postrm", "DEBIAN/postrm", 0o755),
    ("docs/farm.md", "usr/share/doc/kiln/farm.md", 0o644),
    ("docs/operations.md", "usr/share/doc/kiln/operations.md", 0o644),
    ("docs/pieman.md", "usr/share/doc/kiln/pieman.md", 0o644),
    ("docs/reference/cli.md", "usr/share/doc/kiln/cli.md", 0o644),
    ("docs/reference/recipe.md", "usr/share/doc/kiln/recipe.md", 0o644),
];

/// Makes `target/kiln.deb`, or what `--out` names; the binary is what `--binary` names, or is built for release.
pub fn run(rest: &[String]) -> Done {
    std::env::set_current_dir(root()).map_err(|error| error.to_string())?;
    let built = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".into()) + "/release/kiln";
    let (mut binary, mut out) = (None, "target/kiln.deb");
    for words in rest.chunks(2) {
        match words {
            [flag, file] if flag == "--binary" => binary = Some(file.as_str()),
            [flag, file] if flag == "--out" => out = file,
            _ => return Err("cargo xtask deb [--binary FILE] [--out FILE]".into()),
        }
    }
    if binary.is_none() {
        cargo(&["build", "--release", "--package", "kiln"])?;
    }
    let binary = binary.unwrap_or(&built);
    // One at a time: they would empty each other's folder.
    fs::create_dir_all("target").map_err(|error| error.to_string())?;
    let turn = fs::File::create("target/deb.lock").map_err(|error| format!("write `target/deb.lock`: {error}"))?;
    turn.lock().map_err(|error| format!("lock `target/deb.lock`: {error}"))?;
    // Nothing of an earlier one: its lock would keep packages that the mirror has no more.
    let room = Path::new("target/deb");
    let _ = fs::remove_dir_all(room);
    let tree = &room.join("kiln");
    let files = FILES.iter().copied().chain([(binary, "usr/bin/kiln", 0o755)]);
    for (from, to, mode) in files {
        let to = tree.join(to);
        fs::create_dir_all(to.parent().expect("it is in a folder")).map_err(|error| error.to_string())?;
        fs::copy(from, &to).map_err(|error| format!("copy `{from}`: {error}"))?;
        fs::set_permissions(&to, fs::Permissions::from_mode(mode)).map_err(|error| error.to_string())?;
    }
    let program = tree.join("usr/bin/kiln");
    said(Command::new("strip").arg("--strip-unneeded").arg(&program))?;
    for (shell, to) in [
        ("bash", "usr/share/bash-completion/completions/kiln"),
        ("zsh", "usr/share/zsh/vendor-completions/_kiln"),
        ("fish", "usr/share/fish/vendor_completions.d/kiln.fish"),
    ] {
        let to = tree.join(to);
        fs::create_dir_all(to.parent().expect("it is in a folder")).map_err(|error| error.to_string())?;
        fs::write(&to, said(Command::new(&program).args(["completions", shell]))?)
            .map_err(|error| error.to_string())?;
    }
    let architecture = control(tree)?;
    fs::write(room.join("kiln-deb.toml"), recipe(&architecture)).map_err(|error| error.to_string())?;
    said(Command::new(binary).args(["build", "--plain", "--out", "target/deb/made", "target/deb/kiln-deb.toml"]))?;
    fs::copy("target/deb/made/kiln-deb/kiln.deb", out).map_err(|error| format!("write `{out}`: {error}"))?;
    println!("{out}");
    Ok(())
}

/// A tree in which the package is made.
fn recipe(architecture: &str) -> String {
    format!(
        "edition = 1\nname = \"kiln-deb\"\n\n[base]\ndistribution = \"debian\"\nrelease = \"13\"\narchitecture = \"{architecture}\"\n\n\
         [packages]\nbase = \"essential\"\n\n[[file]]\npath = \"/package\"\nsource = \"kiln\"\n\n\
         [[script]]\nafter = \"cleanup\"\nname = \"dpkg-deb\"\ntext = \"dpkg-deb --root-owner-group -Zxz --build /package /kiln.deb\\n\"\n\n\
         [[output]]\nformat = \"dir\"\n"
    )
}

/// Writes the package's control file; returns the architecture.
fn control(tree: &Path) -> Result<String, String> {
    let architecture = said(Command::new("dpkg").arg("--print-architecture"))?;
    // What it was linked with is enough, and no older one is known to be.
    let libc = said(Command::new("dpkg-query").args(["--show", "--showformat=${Version}", "libc6"]))?;
    let libc = libc.split('-').next().unwrap_or_default();
    let version = env!("CARGO_PKG_VERSION");
    let architecture = architecture.trim();
    let text = format!(
        "Package: kiln\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: kiln <kiln@invalid.example>\nSection: admin\n\
         Priority: optional\nDepends: libc6 (>= {libc}), libgcc-s1, adduser, passwd, uidmap\n\
         Recommends: ca-certificates, git\nSuggests: postgresql, redis-server\n\
         Description: turns recipes into bootable operating-system images\n \
         One program that builds images and packages on a laptop or on a farm, without\n root and without a daemon: \
         a build service and its nodes are in it, too.\n"
    );
    fs::write(tree.join("DEBIAN/control"), text).map_err(|error| error.to_string())?;
    Ok(architecture.to_owned())
}

/// Runs a program and returns what it printed.
fn said(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let out = command.output().map_err(|error| format!("run `{name}`: {error}"))?;
    if !out.status.success() {
        return Err(format!("`{name}` failed: {}", String::from_utf8_lossy(&out.stderr).trim()));
    }
    String::from_utf8(out.stdout).map_err(|error| error.to_string())
}
