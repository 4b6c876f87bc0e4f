//! Limits end what exceeds them, and nothing else.

use std::time::Duration;

use kiln_sandbox::{Exit, Limits, Overlay, Status};

use crate::{Case, Ground};

pub const CASES: &[Case] = &[
    ("a memory hog is killed", hog),
    ("files in memory count as memory", memory_files),
    ("a fork bomb is killed", bomb),
    ("the kernel keeps limits where kiln has a group to divide", by_group),
    ("limits are no settings of the kernel", settings),
    ("a sleeper is stopped", sleeper),
    ("one that will not stop is killed", stubborn),
    ("an endless file ends", endless_file),
    ("endless files end", endless_files),
    ("files are bounded where an overlay puts them, and others' do not count", overlay_files),
    ("whoever keeps to the limits is left alone", modest),
];

const MEMORY: u64 = 64 << 20;

fn limits() -> Limits {
    Limits { memory: Some(MEMORY), ..Limits::default() }
}

fn hog(ground: &Ground) {
    for word in ["hog", "shared-hog"] {
        let mut command = ground.attempt(&[word]);
        command.limits = limits();
        let exit = ground.run(&command).0;
        assert!(exit.out_of_memory && !exit.success(), "{word}: {exit:?}");
        assert_eq!((exit.status, exit.to_string().as_str()), (Status::Signal(9), "killed by its memory limit"));
        assert!(exit.max_rss < 16 * MEMORY, "{exit:?}");
    }
}

fn memory_files(ground: &Ground) {
    for place in ["/tmp", "/run", "/dev/shm"] {
        let mut command = ground.shell(&format!("dd if=/dev/zero of={place}/f bs=1M; sleep 5"));
        command.limits = limits();
        let exit = ground.run(&command).0;
        assert!(exit.out_of_memory, "{place}: {exit:?}");
    }
}

fn bomb(ground: &Ground) {
    let mut command = ground.attempt(&["bomb"]);
    command.limits = Limits { processes: Some(100), ..Limits::default() };
    let exit = ground.run(&command).0;
    assert!(exit.too_many_processes && !exit.success(), "{exit:?}");
}

/// A group of its own is there exactly where the probe said so, and goes with the command.
fn by_group(ground: &Ground) {
    let mut command = ground.shell("grep ^0:: /proc/self/cgroup");
    let unlimited = ground.run(&command).1;
    command.limits = Limits { memory: Some(MEMORY), processes: Some(20), ..Limits::default() };
    let own = ground.run(&command).1;
    assert_eq!((own.contains("/kiln-"), own != unlimited), (ground.delegated, ground.delegated), "{own}");
    // A hog that the watch cannot see: memory of a file that nobody has mapped.
    let mut command = ground.attempt(&["hidden-hog"]);
    command.limits = limits();
    let exit = ground.run(&command).0;
    assert_eq!(exit.out_of_memory, ground.delegated, "{exit:?}");
}

/// Before Linux 6.14 the largest process id is one number for the whole host.
fn settings(ground: &Ground) {
    let mut command = ground.shell("cat /proc/sys/kernel/pid_max /proc/sys/kernel/threads-max");
    let without = ground.run(&command).1;
    command.limits = Limits { memory: Some(MEMORY), processes: Some(20), disk: Some(1 << 30), time: None };
    assert_eq!(ground.run(&command).1, without);
}

fn sleeper(ground: &Ground) {
    let mut command = ground.shell("trap 'echo bye; exit 3' TERM; sleep 1000 & wait");
    command.limits.time = Some(Duration::from_millis(200));
    let (exit, out, _) = ground.run(&command);
    assert_eq!((exit.timed_out, exit.status, out.as_str()), (true, Status::Code(3), "bye\n"));
    assert!(exit.wall >= Duration::from_millis(200) && !exit.success());
}

fn stubborn(ground: &Ground) {
    let mut command = ground.attempt(&["linger"]);
    command.limits.time = Some(Duration::from_millis(100));
    let exit = ground.run(&command).0;
    assert_eq!((exit.timed_out, exit.status), (true, Status::Signal(9)));
}

fn endless_file(ground: &Ground) {
    let mut command = ground.shell("exec dd if=/dev/zero of=/big bs=64k");
    command.limits.disk = Some(1 << 20);
    let exit = ground.run(&command).0;
    assert_eq!(exit.status, Status::Signal(libc::SIGXFSZ));
    assert_eq!(std::fs::metadata(ground.tree.join("big")).unwrap().len(), 1 << 20);
}

/// Each is small, all together are not.
fn filler(folder: &str) -> String {
    format!(
        "i=0; while [ $i -lt 20000 ]; do dd if=/dev/zero of={folder}/f$i bs=64k count=4 2>/dev/null; i=$((i+1)); done"
    )
}

fn endless_files(ground: &Ground) {
    let host = ground.folder.join("host");
    std::fs::create_dir(&host).unwrap();
    for folder in ["/root", "/bound"] {
        let mut command = ground.shell(&filler(folder)).bind(&host, "/bound".parse().unwrap(), false);
        command.limits.disk = Some(32 << 20);
        let exit = ground.run(&command).0;
        assert!(exit.out_of_disk && !exit.success(), "{folder}: {exit:?}");
        assert_eq!(exit.to_string(), "killed by its disk limit");
    }
}

fn overlay_files(ground: &Ground) {
    let [upper, work, target, other] = ["upper", "work", "target", "other"].map(|name| ground.folder.join(name));
    std::fs::create_dir(&other).unwrap();
    let overlay = Overlay::mount(&[&ground.tree], &upper, &work, &target).unwrap();
    let mut command = ground.shell(&filler("/root"));
    command.root = overlay.target().into();
    command.written = Some(upper);
    command.limits.disk = Some(32 << 20);
    assert!(ground.run(&command).0.out_of_disk);
    // Somebody else fills the same filesystem: no reason to end this one.
    let mut command = ground.shell("i=0; while [ ! -e /stop ]; do sleep 0.1; done; sleep 1.5; echo done");
    command.limits.disk = Some(32 << 20);
    std::thread::scope(|scope| {
        let quiet = scope.spawn(|| ground.run(&command));
        std::fs::write(other.join("big"), vec![1; 48 << 20]).unwrap();
        std::fs::write(ground.tree.join("stop"), "").unwrap();
        let (exit, out, _) = quiet.join().unwrap();
        assert_eq!((exit.success(), out.as_str()), (true, "done\n"), "{exit:?}");
    });
}

fn modest(ground: &Ground) {
    let mut command =
        ground.shell("for i in 1 2 3 4 5 6 7 8; do sleep 0.1 & done; wait; dd if=/dev/zero of=/tmp/f bs=1M count=30");
    command.limits =
        Limits { memory: Some(MEMORY), processes: Some(20), disk: Some(32 << 20), time: Some(Duration::from_secs(60)) };
    let exit = ground.run(&command).0;
    assert!(exit.success(), "{exit:?}");
    assert_eq!(Exit { cpu: exit.cpu, max_rss: exit.max_rss, wall: exit.wall, ..Exit::code(0) }, exit);
}
