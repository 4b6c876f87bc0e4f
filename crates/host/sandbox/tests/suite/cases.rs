//! The ordinary life of a command.

use std::os::unix::fs::MetadataExt;

use kiln_model::Fault;
use kiln_sandbox::{Command, Emulator, Error, Status, Stream};

use crate::{Case, Ground};

pub const CASES: &[Case] = &[
    ("statuses are told", statuses),
    ("streams are told apart and complete", streams),
    ("standard input is what was given", stdin),
    ("nothing of the environment is inherited", environment),
    ("owners and modes land in the tree", owners),
    ("file capabilities land in the tree", file_capabilities),
    ("a missing program is the package's fault", missing_program),
    ("a missing tree is an error", missing_tree),
    ("what is left running is ended", leftovers),
    ("many run at the same time", many),
    ("fsync costs nothing in a throw-away tree", throwaway),
    ("resources are counted", resources),
    ("a program of another architecture runs in its emulator", emulated),
];

fn statuses(ground: &Ground) {
    for (script, wanted) in [
        ("exit 0", Status::Code(0)),
        ("exit 7", Status::Code(7)),
        ("kill -KILL $$", Status::Signal(9)),
        ("kill -TERM $$", Status::Signal(15)),
    ] {
        assert_eq!(ground.run(&ground.shell(script)).0.status, wanted, "{script}");
    }
}

fn streams(ground: &Ground) {
    let script = "i=0; while [ $i -lt 20000 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done; printf end";
    let (exit, out, err) = ground.run(&ground.shell(script));
    assert!(exit.success());
    let lines = |word: &str| (0..20000).map(|i| format!("{word} {i}\n")).collect::<String>();
    assert!(out == lines("out") + "end" && err == lines("err"));
}

fn stdin(ground: &Ground) {
    let mut command = Command::new(&ground.tree, ["md5sum"]);
    command.stdin = b"kiln\n".repeat(100_000);
    assert_eq!(ground.run(&command).1, format!("{}  -\n", md5(&command.stdin)));
    assert_eq!(ground.say("cat | wc -c"), "0\n");
}

/// The host's own program, as an independent reader.
fn md5(bytes: &[u8]) -> String {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let mut child = Command::new("md5sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let text = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    text.split(' ').next().unwrap().to_owned()
}

fn environment(ground: &Ground) {
    let mut command = Command::new(&ground.tree, ["env"]).env("A", "b c");
    command.hostname = "oven".into();
    command.cwd = "/etc".parse().unwrap();
    let (_, out, _) = ground.run(&command);
    let mut lines: Vec<&str> = out.lines().collect();
    lines.sort_unstable();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(lines, ["A=b c", "HOME=/root", "LC_ALL=C.UTF-8", path]);
    command.argv = ["sh", "-c", "hostname; pwd; umask; ulimit -c"].map(String::from).into();
    assert_eq!(ground.run(&command).1, "oven\n/etc\n0022\n0\n");
}

fn owners(ground: &Ground) {
    ground.say("cd /root; touch a b; chown 1234:60000 a; chown 65534:5 b; chmod 6755 b; mkdir -m 1777 d");
    let facts = |name: &str| {
        let data = ground.tree.join("root").join(name).metadata().unwrap();
        (data.uid(), data.gid(), data.mode() & 0o7777)
    };
    assert_eq!([facts("a"), facts("b"), facts("d")], [(1234, 60000, 0o644), (65534, 5, 0o6755), (0, 0, 0o1777)]);
}

fn file_capabilities(ground: &Ground) {
    let (exit, out, err) = ground.run(&ground.attempt(&["setcap"]));
    assert_eq!((out.as_str(), exit.success()), ("setcap 0\n", true), "{err}");
    let mut value = [0; 64];
    let length = rustix::fs::getxattr(ground.tree.join("server"), "security.capability", &mut value).unwrap();
    // Read by root of the same ids it has the plain form without a root id.
    assert_eq!(value[..length], [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

fn missing_program(ground: &Ground) {
    let command = Command::new(&ground.tree, ["debootstrap", "sid"]);
    let error = ground.sandbox.run(&command, &mut |_, _| ()).unwrap_err();
    assert!(matches!(&error, Error::Program { program, .. } if program == "debootstrap"), "{error:?}");
    let fault = Fault::from(error);
    let wanted = format!("run `debootstrap` in `{}`: No such file or directory (os error 2)", ground.tree.display());
    assert_eq!((fault.chain(), fault.kind().exit_code()), (wanted, 1));
}

fn missing_tree(ground: &Ground) {
    let error = ground.sandbox.run(&Command::new("/nowhere", ["true"]), &mut |_, _| ()).unwrap_err();
    let fault = Fault::from(error);
    assert_eq!(
        (fault.chain().as_str(), fault.kind().exit_code()),
        ("find `/nowhere`: No such file or directory (os error 2)", 4)
    );
}

fn leftovers(ground: &Ground) {
    let command = ground.shell("(setsid sleep 1000 &); sleep 1000 & echo done").env("KILN_LEFT", "behind");
    let (exit, out, _) = ground.run(&command);
    assert_eq!((exit.status, out.as_str()), (Status::Code(0), "done\n"));
    assert_eq!(with_environment("KILN_LEFT=behind"), Vec::<String>::new());
}

/// Returns the processes of the host whose environment holds `text`.
fn with_environment(text: &str) -> Vec<String> {
    let holds = |path: &std::path::Path| {
        std::fs::read(path.join("environ"))
            .is_ok_and(|all| all.split(|&byte| byte == 0).any(|one| one == text.as_bytes()))
    };
    let all = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| holds(path)).map(|path| path.display().to_string()).collect()
}

fn many(ground: &Ground) {
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                for round in 0..5 {
                    let word = format!("{thread} {round}\n");
                    let (_, out, _) = ground.run(&ground.shell(&format!("sleep 0.0{thread}; echo {word}")));
                    assert_eq!(out, word);
                }
            });
        }
    });
}

fn throwaway(ground: &Ground) {
    let calls = ["fsync", "fdatasync", "syncfs", "msync"];
    let mut command = ground.attempt(&calls);
    assert_eq!(ground.run(&command).1, "fsync 0\nfdatasync 0\nsyncfs 0\nmsync 0\n");
    command.throwaway = false;
    let (bad, no) = (libc::EBADF, libc::ENOMEM);
    assert_eq!(ground.run(&command).1, format!("fsync {bad}\nfdatasync {bad}\nsyncfs {bad}\nmsync {no}\n"));
}

fn resources(ground: &Ground) {
    let mut said = 0;
    let command = ground.shell("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo x");
    let exit = ground.sandbox.run(&command, &mut |stream, bytes| {
        assert_eq!(stream, Stream::Stdout);
        said += bytes.len();
    });
    let exit = exit.unwrap();
    assert_eq!(said, 2);
    assert!(exit.cpu.as_millis() > 1 && exit.wall >= exit.cpu / 4 && exit.max_rss > 100_000, "{exit:?}");
}

/// busybox called `echo` stands for an emulator: it shows what the kernel hands it. Needs Linux 6.7, as the probe tells.
fn emulated(ground: &Ground) {
    use std::os::unix::fs::PermissionsExt;
    let (program, foreign) = (ground.folder.join("echo"), ground.tree.join("usr/bin/foreign"));
    std::fs::copy(ground.tree.join("bin/busybox"), &program).unwrap();
    std::fs::create_dir_all(foreign.parent().unwrap()).unwrap();
    std::fs::write(&foreign, b"\x7fELF\x02\x01\x01 what no machine runs").unwrap();
    std::fs::set_permissions(&foreign, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command =
        ground.shell("foreign one two; (exec -a called foreign three) 2>/dev/null || /usr/bin/foreign four");
    let magic = b"\x7fELF\x02\x01\x01 what".to_vec();
    command.emulators.push(Emulator { name: "nowhere".into(), mask: vec![0xff; magic.len()], magic, program });
    let (exit, out, err) = ground.run(&command);
    if !ground.emulates {
        assert_eq!(exit.status, Status::Code(126), "{out}{err}");
        return;
    }
    assert!(exit.success(), "{exit} {out}{err}");
    let path = "/usr/bin/foreign";
    assert_eq!(out.lines().next(), Some(format!("{path} foreign one two").as_str()), "{out}");
    assert!(
        out.ends_with(&format!("{path} {path} four\n")) || out.ends_with(&format!("{path} called three\n")),
        "{out}"
    );
    // Neither the host nor the next command knows of it.
    let (exit, ..) = ground.run(&ground.shell("foreign one"));
    assert!(!exit.success());
    assert!(!std::path::Path::new("/proc/sys/fs/binfmt_misc/nowhere").exists());
}
