//! What U-Boot reads, as its own tools read it.

use std::path::Path;
use std::process::Command;

use kiln_disk::u_boot;
use kiln_model::Arch;

fn said(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().unwrap_or_else(|error| {
        panic!("{program}: {error}; `scripts/setup --tests` installs it");
    });
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program} {words:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_script_is_mkimages_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let [source, made] = ["boot.cmd", "boot.scr"].map(|name| folder.path().join(name));
    std::fs::write(&source, "echo hello\nreset\n").unwrap();
    for (arch, name) in [(Arch::Arm64, "arm64"), (Arch::Armhf, "arm")] {
        let words = ["-A", name, "-O", "linux", "-T", "script", "-C", "none", "-n", "a title", "-d"];
        let mut command = Command::new("mkimage");
        command.args(words).args([&source, &made]).env("SOURCE_DATE_EPOCH", "1760000000");
        let output = command.output().unwrap_or_else(|error| panic!("mkimage: {error}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let ours = u_boot::script("echo hello\nreset\n", "a title", arch, 1_760_000_000);
        assert!(std::fs::read(&made).unwrap() == ours, "{name} differs");
    }
    let listed = said("mkimage", &["-l", text(&made)]);
    assert!(listed.contains("Image Name:   a title") && listed.contains("ARM Linux Script"), "{listed}");
}

#[test]
fn variables_are_read_and_changed_by_libubootenv() {
    let folder = tempfile::tempdir().unwrap();
    let [file, config] = ["mender.env", "fw_env.config"].map(|name| folder.path().join(name));
    std::fs::write(&file, u_boot::environment(&[("mender_boot_part", "2"), ("bootcount", "0")], 0x4000)).unwrap();
    std::fs::write(&config, format!("{} 0x0000 0x4000\n", file.display())).unwrap();
    assert_eq!(said("fw_printenv", &["-c", text(&config)]), "bootcount=0\nmender_boot_part=2\n");
    said("fw_setenv", &["-c", text(&config), "mender_boot_part", "3"]);
    let changed = u_boot::environment(&[("bootcount", "0"), ("mender_boot_part", "3")], 0x4000);
    assert!(std::fs::read(&file).unwrap() == changed, "libubootenv writes another form");
}
