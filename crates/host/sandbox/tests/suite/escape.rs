//! What must not be seen and must not work.

use kiln_model::GuestPath;
use kiln_sandbox::Network;

use crate::{Case, Ground};

pub const CASES: &[Case] = &[
    ("dangerous system calls are refused", calls),
    ("capabilities are exactly the kept ones", capabilities),
    ("there is no network", network),
    ("the host's network is there when asked for", host_network),
    ("no mount of the host is visible", mounts),
    ("proc is masked", proc),
    ("devices are the few harmless ones", devices),
    ("the first process is out of reach", first_process),
    ("chroot does not lead out", chroot),
    ("links in a hostile tree do not lead mounts out", hostile_links),
];

fn calls(ground: &Ground) {
    let (no, absent) = (libc::EPERM, libc::ENOSYS);
    let wanted = [
        ("ptrace", no),
        ("traceme", no),
        ("unshare-user", no),
        ("unshare-fs", 0),
        ("clone-user", no),
        ("clone3", absent),
        ("setns", no),
        ("mount", no),
        ("fsopen", no),
        ("umount", no),
        ("keyctl", no),
        ("bpf", no),
        ("perf", no),
        ("kexec", no),
        ("module", no),
        ("userfaultfd", no),
        ("io-uring", absent),
        ("handle", no),
        ("reboot", no),
        ("mknod", no),
        ("mkfifo", 0),
        ("vsock", libc::EAFNOSUPPORT),
        ("raw-socket", no),
        ("unix-socket", 0),
        ("open-tree-attr", absent),
        ("unheard-of", absent),
    ];
    let (_, out, err) = ground.run(&ground.attempt(&wanted.map(|(name, _)| name)));
    let wanted: String = wanted.iter().map(|(name, number)| format!("{name} {number}\n")).collect();
    assert_eq!(out, wanted, "{err}");
}

fn capabilities(ground: &Ground) {
    // chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service sys_chroot audit_write setfcap
    let set: u64 = [0, 1, 3, 4, 5, 6, 7, 8, 10, 18, 29, 31].iter().map(|bit| 1 << bit).sum();
    let none = "0000000000000000";
    let wanted = format!(
        "CapInh:\t{none}\nCapPrm:\t{set:016x}\nCapEff:\t{set:016x}\nCapBnd:\t{set:016x}\nCapAmb:\t{none}\nNoNewPrivs:\t1\nSeccomp:\t2\n"
    );
    assert_eq!(ground.say("grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status"), wanted);
    assert_eq!(ground.say("id -G; cat /proc/self/oom_score_adj"), "0\n500\n");
}

fn network(ground: &Ground) {
    assert_eq!(ground.say("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '"), "lo\n");
    assert_eq!(ground.say("tail -n +2 /proc/net/route"), "");
    let (_, _, err) = ground.run(&ground.shell("nc -w 3 198.51.100.1 80"));
    assert!(err.contains("Network is unreachable"), "{err}");
    assert_eq!(ground.say("(echo hello | nc -l -p 9 -w 5 &); sleep 0.3; nc -w 5 127.0.0.1 9 < /dev/null"), "hello\n");
}

fn host_network(ground: &Ground) {
    let mut command = ground.shell("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '");
    command.network = Network::Host;
    let host = std::fs::read_to_string("/proc/net/dev").unwrap();
    let wanted: String =
        host.lines().skip(2).map(|line| line.split(':').next().unwrap().trim().to_owned() + "\n").collect();
    assert_eq!(ground.run(&command).1, wanted);
}

fn mounts(ground: &Ground) {
    let out = ground.say("cut -d' ' -f5 /proc/self/mountinfo");
    let known = |point: &str| {
        let places = ["/", "/proc", "/sys", "/dev", "/dev/pts", "/dev/shm", "/run", "/tmp"];
        let nodes = ["null", "zero", "full", "random", "urandom", "tty"].map(|node| format!("/dev/{node}"));
        places.contains(&point) || nodes.iter().any(|node| node == point) || point.starts_with("/proc/")
    };
    let strange: Vec<&str> = out.lines().filter(|point| !known(point)).collect();
    assert_eq!(strange, Vec::<&str>::new());
    assert_eq!(ground.say("ls -A /sys /run/lock /tmp; ls -A /"), {
        let listed = ["bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "usr"].join("\n");
        format!("/run/lock:\n\n/sys:\n\n/tmp:\n{listed}\n")
    });
}

fn proc(ground: &Ground) {
    let script = "for file in kcore keys key-users sysrq-trigger timer_list kmsg kallsyms iomem; do
            [ ! -e /proc/$file ] || { [ -c /proc/$file ] && [ \"$(head -c 1 /proc/$file)\" = '' ]; } || echo $file shows
        done
        for directory in acpi scsi driver asound; do ls -A /proc/$directory 2>/dev/null; done
        for file in sys/kernel/core_pattern sys/kernel/hostname sys/vm/drop_caches irq/default_smp_affinity; do
            [ ! -e /proc/$file ] || ! (echo 0 > /proc/$file) 2>/dev/null || echo $file takes
        done
        find /proc -maxdepth 4 -path '/proc/[0-9]*' -prune -o -path '/proc/self*' -prune -o -path '/proc/thread-self*' -prune \
            -o -type f -perm /222 -print | while read -r file; do
            (: >> $file) 2>/dev/null && echo $file opens
        done; true";
    assert_eq!(ground.say(script), "");
    assert_eq!(ground.say("cat /proc/sys/user/max_user_namespaces"), "0\n");
}

fn devices(ground: &Ground) {
    let listed =
        ["fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom", "zero"];
    assert_eq!(ground.say("ls /dev"), listed.join("\n") + "\n");
    assert_eq!(
        ground.say(
            "head -c 4 /dev/zero | wc -c; head -c 4 /dev/urandom | wc -c; echo x > /dev/null; echo y > /dev/stdout"
        ),
        "4\n4\ny\n"
    );
    let (_, _, err) = ground.run(&ground.shell("chmod 600 /dev/null"));
    assert!(err.contains("Read-only file system"), "{err}");
}

fn first_process(ground: &Ground) {
    let (_, out, err) = ground.run(&ground.attempt(&["own-exe", "environ"]));
    assert_eq!(out, format!("own-exe {0}\nenviron {0}\n", libc::EACCES), "{err}");
    for what in ["root", "cwd", "exe", "fd/3", "ns/mnt", "mem"] {
        let (exit, out, _) = ground.run(&ground.shell(&format!("cat /proc/1/{what} || ls /proc/1/{what}/")));
        assert!(!exit.success() && out.is_empty(), "{what}: {out}");
    }
    assert_eq!(ground.say("cat /proc/1/comm; tr -d '\\0' < /proc/1/cmdline"), "kiln-sandbox\nkiln-sandbox");
    assert!(ground.say("kill -KILL 1; kill -TERM 1; echo alive").contains("alive"));
}

fn chroot(ground: &Ground) {
    std::fs::create_dir(ground.tree.join("jail")).unwrap();
    std::fs::copy(ground.tree.join("bin/busybox"), ground.tree.join("jail/busybox")).unwrap();
    // Climbing far above any root ends at the tree's, never at the host's.
    let climb = "../".repeat(40);
    assert_eq!(ground.say(&format!("chroot /jail /busybox ls {climb}")), "busybox\n");
    let listed = ground.say(&format!("cd / && ls {climb}"));
    assert!(listed.contains("jail") && !listed.contains("home"), "{listed}");
}

fn hostile_links(ground: &Ground) {
    let host = ground.folder.join("host");
    std::fs::create_dir(&host).unwrap();
    std::fs::write(host.join("secret"), "x").unwrap();
    for name in ["proc", "sys", "dev", "run", "tmp", "bound"] {
        std::os::unix::fs::symlink(&host, ground.tree.join(name)).unwrap();
    }
    let guest: GuestPath = "/bound".parse().unwrap();
    // The links lead nowhere inside, so there is no place to mount: refused, and the host's folder is as it was.
    let command = ground.shell("echo in > /tmp/x; ls /bound").bind(&ground.folder, guest, false);
    ground.sandbox.run(&command, &mut |_, _| ()).unwrap_err();
    assert_eq!(std::fs::read_dir(&host).unwrap().count(), 1);
    // With targets in the tree they lead there, and only there.
    for name in ["proc", "sys", "dev", "run", "tmp", "bound"] {
        std::fs::remove_file(ground.tree.join(name)).unwrap();
        std::os::unix::fs::symlink("../../../root/kiln-hostile", ground.tree.join(name)).unwrap();
    }
    std::fs::create_dir(ground.tree.join("root/kiln-hostile")).unwrap();
    let _ = ground.sandbox.run(&command, &mut |_, _| ());
    assert_eq!(std::fs::read_dir(&host).unwrap().count(), 1);
    assert!(!std::path::Path::new("/root/kiln-hostile").exists());
}
