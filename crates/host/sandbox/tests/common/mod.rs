//! What the tests share: a busybox tree, an ordinary user with subordinate ids, and what a run leaves behind.
#![allow(dead_code)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

pub const USER: &str = "kilntest";

/// Makes a root of busybox (Debian's `busybox-static`) in `tree`.
pub fn busybox_tree(tree: &Path) {
    let busybox = ["/usr/bin/busybox", "/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    let busybox = busybox.expect("these tests need busybox: sudo apt-get install busybox-static");
    let bin = tree.join("bin");
    for directory in ["bin", "etc", "root", "usr"] {
        fs::create_dir_all(tree.join(directory)).unwrap();
    }
    fs::copy(busybox, bin.join("busybox")).unwrap();
    let applets = Command::new(busybox).arg("--list").output().unwrap();
    for applet in String::from_utf8(applets.stdout).unwrap().lines().filter(|applet| *applet != "busybox") {
        symlink("busybox", bin.join(applet)).unwrap();
    }
    let statics = Command::new(busybox).args(["sh", "-c", "exit 0"]).env_clear().status().unwrap();
    assert!(statics.success());
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Makes sure that the ordinary user exists and has 65536 subordinate ids.
pub fn need_user() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Test programs run side by side, and only one may change the list of users.
        let alone = fs::File::create(std::env::temp_dir().join("kiln-tests-user.lock")).unwrap();
        alone.lock().unwrap();
        let run = |program: &str, arguments: &[&str]| {
            Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
        };
        if !run("id", &["-u", USER]) {
            assert!(run("useradd", &["--no-create-home", USER]), "useradd {USER}");
        }
        let lent = |file: &str| fs::read_to_string(file).unwrap_or_default().contains(&format!("{USER}:"));
        if !lent("/etc/subuid") || !lent("/etc/subgid") {
            let range = "700000000-700065535";
            assert!(run("usermod", &["--add-subuids", range, "--add-subgids", range, USER]), "usermod {USER}");
        }
    });
}

/// Returns a command that runs `program` as root or as the ordinary user.
pub fn as_user(ordinary: bool, program: &Path) -> Command {
    if !ordinary {
        return Command::new(program);
    }
    need_user();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", USER, "--init-groups", "--inh-caps=-all"]).arg(program);
    command.env("HOME", "/tmp").env("USER", USER);
    command
}

/// A folder under `/tmp` that everybody may use, removed in the end.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kiln-sandbox-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o1777)).unwrap();
        Self(path)
    }

    /// Copies a program to where the ordinary user can reach it.
    pub fn install(&self, program: &Path) -> PathBuf {
        let copy = self.0.join(program.file_name().unwrap());
        fs::copy(program, &copy).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
        copy
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
