//! `kiln pieman` before it builds: what it lists, and how it asks.

mod common;

use common::Bench;
use common::terminal::{INTERRUPT, Session};
use serde_json::{Value, json};

#[test]
fn devices_are_listed_for_programs() {
    let bench = Bench::new();
    let done = bench.ok(&["pieman", "--list-devices"]);
    assert_eq!(done.stderr, "");
    let devices: Value = serde_json::from_str(&done.stdout).unwrap();
    let one = &devices["rpi-3-b"];
    assert_eq!(
        (&one["name"], &one["generation"], &one["model"]),
        (&"Raspberry Pi".into(), &3.into(), &"Model B".into())
    );
    let system = &one["distros"]["debian-trixie-arm64"];
    assert_eq!((&system["version"], &system["codename"], &system["bits"]), (&13.into(), &"Trixie".into(), &64.into()));
    assert_eq!(system["build_types"], json!(["classic", "mender", "artifact"]));
    // Neither parameters nor a cache are looked at.
    bench.write(".env", "OS=nonsense");
    assert_eq!(bench.ok(&["pieman", "--list-devices", "--cache", "/proc/kiln"]).stdout, done.stdout);
    assert!(!bench.cache().exists());
}

/// Lets a shell start kiln, types once it asks for a password, and returns what the screen shows in the end.
fn screen(how: &str, keys: &[u8], code: u8) -> String {
    let bench = Bench::new();
    let environment =
        [("OS", "debian-trixie-amd64"), ("DEVICE", "generic-x86_64"), ("USER_PASSWORD", "-"), ("PROJECT_NAME", "p")];
    Session::start(&bench, how, &environment).asked("Enter USER_PASSWORD value: ").ends(keys, code)
}

const KILN: &str = "\"$0\" pieman --print-recipe";

#[test]
fn an_interrupted_question_gives_the_terminal_back() {
    for keys in [&[INTERRUPT][..], b"half a pass\x03"] {
        let screen = screen(KILN, keys, 130);
        assert!(screen.contains("Enter USER_PASSWORD value: \r\nended with 130\r\n"), "{screen}");
    }
    // Where the signal is ignored, as in the background of a script.
    screen(&format!("(trap '' INT; exec {KILN})"), &[INTERRUPT], 130);
}

#[test]
fn an_answered_question_shows_nothing_of_it() {
    let screen = screen(KILN, b"sesame\n", 0);
    assert!(screen.contains("name = \"p\"") && !screen.contains("sesame"), "{screen}");
}
