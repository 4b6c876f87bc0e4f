//! What the plugin of kernel-install makes of a boot loader's entries, and whether GRUB would read it.

use std::fs;
use std::path::Path;
use std::process::Command;

const PLUGIN: &str = include_str!("../src/stage/grub-entries.sh");

fn entry(boot: &Path, name: &str, text: &str) {
    fs::write(boot.join("loader/entries").join(name), text).unwrap();
}

/// Runs a program, which must end well, and returns what it said.
fn ran(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output();
    let output = output.unwrap_or_else(|error| panic!("run {program} ({error}); `scripts/setup --tests` installs it"));
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{program} {words:?}: {said}");
    said
}

/// Runs the plugin and returns what GRUB will read.
fn translated(boot: &Path, verb: &str) -> String {
    let (plugin, made) = (boot.join("plugin"), boot.join("grub/entries.cfg"));
    fs::write(&plugin, PLUGIN.replace("@ESP@", boot.to_str().unwrap())).unwrap();
    assert_eq!(ran("sh", &[plugin.to_str().unwrap(), verb]), "");
    ran("grub-script-check", &[made.to_str().unwrap()]);
    fs::read_to_string(made).unwrap()
}

fn boot() -> tempfile::TempDir {
    let boot = tempfile::tempdir().unwrap();
    for folder in ["grub", "loader/entries"] {
        fs::create_dir_all(boot.path().join(folder)).unwrap();
    }
    boot
}

#[test]
fn entries_are_said_in_grubs_words_the_newest_first() {
    let (folder, line) = (boot(), "options    root=UUID=1 rw\n");
    let boot = folder.path();
    for version in ["6.9.1", "6.12.0~rc1", "6.12.0", "6.12.0+bpo"] {
        let paths = format!("linux      /debian/{version}/linux\ninitrd     /debian/{version}/initrd.img\n");
        entry(boot, &format!("debian-{version}.conf"), &format!("title  d\nversion    {version}\n{line}{paths}"));
    }
    entry(boot, "other.conf", "title Windows\nefi /EFI/Microsoft/bootmgfw.efi\n");
    entry(boot, "note.txt", "title d\nlinux /no\n");
    let made = translated(boot, "add");
    let titles: Vec<&str> = made.lines().filter(|line| line.starts_with("menuentry")).collect();
    let wanted = ["6.12.0+bpo", "6.12.0", "6.12.0~rc1", "6.9.1"]
        .map(|version| format!("menuentry 'd ({version})' --id 'loader/entries/debian-{version}.conf' {{"));
    assert_eq!(titles, wanted);
    let last = "    linux '/debian/6.9.1/linux' 'root=UUID=1' 'rw'\n    initrd '/debian/6.9.1/initrd.img'\n}\n\
                entry 'loader/entries/debian-6.9.1.conf'\n";
    assert!(made.ends_with(last), "{made}");
    fs::remove_file(boot.join("loader/entries/debian-6.12.0+bpo.conf")).unwrap();
    assert!(translated(boot, "remove").starts_with("menuentry 'd (6.12.0)' --id "));
}

#[test]
fn whatever_stands_in_an_entry_stays_one_word_of_grubs() {
    let folder = boot();
    let text = "# a comment\r\ntitle Bob's $(reboot) `x` }\r\nversion 1\r\noptions dyndbg=\"file a.c +p; file b.c\" a=$root\toptions\r\n\
                options x='y' init=/bin/sh;reboot\r\nlinux /a b/linux\r\ninitrd /one\r\ninitrd /two\r\n";
    entry(folder.path(), "a.conf", text);
    let wanted = "menuentry 'Bob'\\''s $(reboot) `x` } (1)' --id 'loader/entries/a.conf' {\n    \
                  linux '/a b/linux' 'dyndbg=file a.c +p; file b.c' 'a=$root' 'options' \
                  'x='\\''y'\\''' 'init=/bin/sh;reboot'\n    initrd '/one' '/two'\n}\nentry 'loader/entries/a.conf'\n";
    assert_eq!(translated(folder.path(), "add"), wanted);
}

#[test]
fn what_grub_reads_first_is_sound() {
    let folder = boot();
    let file = folder.path().join("grub.cfg");
    fs::write(&file, include_str!("../src/stage/grub.cfg")).unwrap();
    ran("grub-script-check", &[file.to_str().unwrap()]);
}

#[test]
fn without_entries_grub_says_so() {
    let folder = boot();
    assert_eq!(translated(folder.path(), "remove"), "echo \"There is no kernel to start.\"\n");
}
