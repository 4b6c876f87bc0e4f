//! The dialogue over a serial line, with a real shell on a real terminal and a line that is as bad as they come.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use kiln_engine::boot::console::{Console, Stop};
use kiln_engine::boot::shell::{Answer, KEPT, Shell};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// A guest: `program` on a terminal, its other end relayed to a socket; `noise` is put in after so many bytes.
struct Guest {
    child: Child,
    console: UnixStream,
    folder: tempfile::TempDir,
}

impl Guest {
    fn start(program: &[&str], noise: &'static [usize]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The dialogue tells the kernel to be quiet; not this machine's.
        let dmesg = folder.path().join("dmesg");
        fs::write(&dmesg, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&dmesg, fs::Permissions::from_mode(0o755)).unwrap();
        let outer = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&outer).unwrap();
        unlockpt(&outer).unwrap();
        let name = ptsname(&outer, Vec::new()).unwrap();
        let inner = || fs::OpenOptions::new().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
        let child = Command::new("setsid")
            .args(program)
            .env("PATH", path)
            .env("KILN_FOLDER", folder.path())
            .stdin(Stdio::from(inner()))
            .stdout(inner())
            .stderr(inner())
            .spawn()
            .expect("setsid of util-linux is installed");
        let (console, far) = UnixStream::pair().unwrap();
        relay(outer, far, noise);
        Self { child, console, folder }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn relay(outer: OwnedFd, far: UnixStream, noise: &'static [usize]) {
    let (mut to_shell, mut from_socket) = (fs::File::from(outer.try_clone().unwrap()), far.try_clone().unwrap());
    thread::spawn(move || std::io::copy(&mut from_socket, &mut to_shell));
    let (mut from_shell, mut to_socket) = (fs::File::from(outer), far);
    thread::spawn(move || {
        let (mut sent, mut byte) = (0, [0]);
        while from_shell.read_exact(&mut byte).is_ok() {
            if noise.contains(&sent) {
                to_socket.write_all(b"[   12.345678] usb 1-1: new high-speed USB device\r\n").unwrap();
            }
            if to_socket.write_all(&byte).is_err() {
                return;
            }
            sent += 1;
        }
    });
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn dialogue(program: &[&str], noise: &'static [usize], commands: &[&str]) -> Vec<Answer> {
    let guest = Guest::start(program, noise);
    let lines = Mutex::new(Vec::new());
    let on_line = |line: &str| lines.lock().unwrap().push(line.to_owned());
    let alarm = || None;
    let log = guest.folder.path().join("console.log");
    let mut console = Console::new(guest.console.try_clone().unwrap(), &log, &on_line, &alarm).unwrap();
    let mut shell = Shell::enter(&mut console, soon()).unwrap();
    let answers = commands.iter().map(|command| shell.run(command, soon()).unwrap()).collect();
    assert_log(&log, &console.text(), &lines.lock().unwrap());
    answers
}

fn assert_log(log: &Path, text: &str, lines: &[String]) {
    assert_eq!(fs::read(log).unwrap(), text.as_bytes(), "the log holds what came");
    assert!(!lines.is_empty() && lines.len() == text.matches('\n').count(), "every line is told once");
}

fn answer(status: i32, output: &str) -> Answer {
    Answer { status, output: output.into() }
}

const LONG: &str = "i=0; while [ $i -lt 3000 ]; do echo \"line $i of many\"; i=$((i+1)); done";

fn long() -> String {
    (0..3000).map(|i| format!("line {i} of many\n")).collect()
}

#[test]
fn answers_come_back_whole() {
    let quoting = "printf '%s\\n' \"a'b\" '$HOME' '\"' 'caf\u{e9}' '@kiln9@e:0:'; exit 7";
    let tall: String = std::iter::repeat_n(": a comment of some length to make a long script\n", 200).collect();
    let tall = format!("{tall}echo end");
    let commands = ["echo hello", quoting, LONG, "cat; echo read", "no-such-program", &tall];
    let answers = dialogue(&["sh", "-i"], &[], &commands);
    let wanted = [
        answer(0, "hello\n"),
        answer(7, "a'b\n$HOME\n\"\ncaf\u{e9}\n@kiln9@e:0:\n"),
        answer(0, &long()),
        answer(0, "read\n"),
    ];
    assert_eq!(answers[..4], wanted);
    assert_eq!(answers[4].status, 127);
    assert_eq!(answers[5], answer(0, "end\n"));
}

#[test]
fn a_shell_with_line_editing_and_echo_does_too() {
    let answers = dialogue(&["bash", "--norc", "-i"], &[], &["echo hello", LONG]);
    assert_eq!(answers, [answer(0, "hello\n"), answer(0, &long())]);
}

#[test]
fn the_kernel_may_talk_in_between() {
    // Some of these fall into the long answer, between lines and inside them.
    const NOISE: &[usize] = &[3, 150, 333, 700, 2000, 5000, 9000, 20_000, 33_333, 60_000];
    let answers = dialogue(&["sh", "-i"], NOISE, &["echo hello", LONG]);
    assert_eq!(answers, [answer(0, "hello\n"), answer(0, &long())]);
}

#[test]
fn only_the_end_of_too_much_output_is_kept() {
    let answers = dialogue(&["sh", "-i"], &[], &["head -c 400000 /dev/zero | tr '\\0' x; echo end"]);
    assert_eq!(answers[0].output.len(), KEPT);
    assert!(answers[0].output.ends_with("xend\n"));
}

#[test]
fn waiting_ends_with_the_time_the_machine_or_an_alarm() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let quiet = || None;
    let (near, mut far) = UnixStream::pair().unwrap();
    far.write_all(b"booting\r\n").unwrap();
    let mut console = Console::new(near, &log, &|_| {}, &quiet).unwrap();
    let short = Instant::now() + Duration::from_millis(300);
    assert!(matches!(console.wait(short, |_| None::<()>), Err(Stop::Timeout)));
    assert_eq!(console.wait(soon(), |text| text.contains("booting").then_some(7)).unwrap(), 7);
    far.write_all(b"[    1.0] Kernel panic - not syncing: Fatal exception\r\n").unwrap();
    assert!(matches!(console.wait(soon(), |_| None::<()>), Err(Stop::Panicked)));
    console.send("").unwrap();
    drop(far);
    assert!(matches!(console.wait(soon(), |_| None::<()>), Err(Stop::Closed)));
    let (near, _far) = UnixStream::pair().unwrap();
    let alarm = || Some(Stop::Hypervisor("KVM internal error".into()));
    let mut console = Console::new(near, &log, &|_| {}, &alarm).unwrap();
    assert!(matches!(console.wait(soon(), |_| None::<()>), Err(Stop::Hypervisor(_))));
}
