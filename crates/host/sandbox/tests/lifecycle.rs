//! Whatever ends kiln, and whichever of its processes: no process, no mount, no scratch directory is left.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{Folder, as_user, busybox_tree, is_root};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Which process gets the signal.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Whom {
    Supervisor,
    Worker,
    Group,
    Janitor,
}

fn helper() -> PathBuf {
    env!("CARGO_BIN_EXE_sandboxed").into()
}

/// A kiln that has everything in use.
struct Hanging {
    child: Child,
    mark: String,
    place: Folder,
}

impl Hanging {
    fn start(name: &str, ordinary: bool) -> Self {
        let place = Folder::new(name);
        let (tree, work) = (place.0.join("tree"), place.0.join("work"));
        busybox_tree(&tree);
        if ordinary {
            common::need_user();
            let own = format!("{}:{}", common::USER, common::USER);
            assert!(Command::new("chown").args(["-R", &own]).arg(&place.0).status().unwrap().success());
        }
        let mark = format!("{name}-{}", std::process::id());
        let mut command = as_user(ordinary, &place.install(&helper()));
        command.arg("hang").args([&tree, &work]).env("KILN_TEST_MARK", &mark).stdout(Stdio::piped()).process_group(0);
        if name == "deaf" {
            command.env("KILN_TEST_DEAF", "1");
        }
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let hanging = Self { child, mark, place };
        // Supervisor, worker, janitor, first process, shell, two sleepers and their like.
        assert!(hanging.processes().len() >= 6, "{:?}", hanging.processes());
        assert_eq!(hanging.scratches().len(), 1);
        assert_eq!(hanging.registered().len(), usize::from(is_root() && !ordinary));
        hanging
    }

    fn signal(&self, whom: Whom, signal: Signal) {
        let supervisor = Pid::from_child(&self.child);
        match whom {
            Whom::Supervisor => kill_process(supervisor, signal),
            Whom::Group => kill_process_group(supervisor, signal),
            Whom::Worker => kill_process(self.named(supervisor, "sandboxed"), signal),
            Whom::Janitor => kill_process(self.named(self.named(supervisor, "sandboxed"), "kiln-janitor"), signal),
        }
        .unwrap();
    }

    /// Returns the child of `parent` with a name.
    fn named(&self, parent: Pid, name: &str) -> Pid {
        let is = |pid: &i32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let after = stat.rsplit_once(") ").map_or("", |(_, after)| after);
            stat.contains(&format!("({name})")) && after.split(' ').nth(1) == Some(&parent.to_string())
        };
        let pid = self.processes().into_iter().find(is);
        Pid::from_raw(pid.unwrap_or_else(|| panic!("no `{name}` below {parent}"))).unwrap()
    }

    /// Returns every process that has our mark in its environment.
    fn processes(&self) -> Vec<i32> {
        let mark = format!("KILN_TEST_MARK={}", self.mark);
        let marked = |pid: &i32| {
            let all = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            all.split(|&byte| byte == 0).any(|one| one == mark.as_bytes())
        };
        pids().filter(marked).collect()
    }

    /// Returns the mounts below our folder that any process sees.
    fn mounts(&self) -> Vec<String> {
        let ours = self.place.0.to_str().unwrap();
        let all = pids().filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/mountinfo")).ok());
        let seen =
            |text: String| text.lines().filter(|line| line.contains(ours)).map(str::to_owned).collect::<Vec<_>>();
        all.flat_map(seen).collect()
    }

    fn scratches(&self) -> Vec<PathBuf> {
        let all = fs::read_dir(self.place.0.join("work")).unwrap();
        all.map(|entry| entry.unwrap().path()).collect()
    }

    /// Returns what is registered on the host for us.
    fn registered(&self) -> Vec<String> {
        if !is_root() {
            return vec![];
        }
        let list = ["unshare", "--mount", "sh", "-c", "mount -t binfmt_misc none /mnt && ls /mnt"];
        let output = Command::new(list[0]).args(&list[1..]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let all = String::from_utf8(output.stdout).unwrap();
        all.lines().filter(|name| name.contains(&format!("-{}-", self.mark))).map(str::to_owned).collect()
    }

    /// Waits for the supervisor, then until nothing is left.
    fn end(mut self) -> ExitStatus {
        let status = self.child.wait().unwrap();
        let begun = Instant::now();
        let left = || (self.processes(), self.mounts(), self.scratches(), self.registered());
        while left() != (vec![], vec![], vec![], vec![]) {
            assert!(begun.elapsed() < Duration::from_secs(20), "left behind: {:?}", left());
            sleep(Duration::from_millis(20));
        }
        status
    }
}

fn pids() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// As root both users, else the one we are.
fn users() -> &'static [bool] {
    if is_root() { &[false, true] } else { &[false] }
}

/// Ends a kiln and returns how it ended, once for every user.
fn ends(name: &str, whom: Whom, signal: Signal) -> Vec<ExitStatus> {
    let run = |&ordinary: &bool| {
        let hanging = Hanging::start(&format!("{name}-{ordinary}"), ordinary);
        hanging.signal(whom, signal);
        hanging.end()
    };
    users().iter().map(run).collect()
}

fn interrupted(statuses: Vec<ExitStatus>) {
    statuses.into_iter().for_each(|status| assert_eq!(status.code(), Some(130), "{status}"));
}

fn killed(statuses: Vec<ExitStatus>) {
    statuses.into_iter().for_each(|status| assert_eq!(status.signal(), Some(9), "{status}"));
}

#[test]
fn sigterm_to_the_supervisor() {
    interrupted(ends("term-supervisor", Whom::Supervisor, Signal::TERM));
}

#[test]
fn sigint_to_the_supervisor() {
    interrupted(ends("int-supervisor", Whom::Supervisor, Signal::INT));
}

#[test]
fn sigint_to_the_group_as_from_a_terminal() {
    interrupted(ends("int-group", Whom::Group, Signal::INT));
}

#[test]
fn sighup_to_the_group() {
    interrupted(ends("hup-group", Whom::Group, Signal::HUP));
}

#[test]
fn sigterm_to_the_worker() {
    interrupted(ends("term-worker", Whom::Worker, Signal::TERM));
}

#[test]
fn sigkill_to_the_supervisor() {
    killed(ends("kill-supervisor", Whom::Supervisor, Signal::KILL));
}

#[test]
fn sigkill_to_the_worker() {
    killed(ends("kill-worker", Whom::Worker, Signal::KILL));
}

#[test]
fn sigkill_to_the_group() {
    killed(ends("kill-group", Whom::Group, Signal::KILL));
}

#[test]
fn sigkill_to_the_janitor_is_an_error_and_kiln_cleans_up_itself() {
    for status in ends("kill-janitor", Whom::Janitor, Signal::KILL) {
        assert_eq!(status.code(), Some(4), "{status}");
    }
}

#[test]
fn a_second_wish_kills_a_worker_that_does_not_hear() {
    let mut hanging = Hanging::start("deaf", false);
    hanging.signal(Whom::Supervisor, Signal::TERM);
    // The helper has left the sandbox then and goes on without looking.
    let begun = Instant::now();
    while !hanging.processes().iter().all(|&pid| name(pid) != "kiln-sandbox") {
        assert!(begun.elapsed() < Duration::from_secs(20));
        sleep(Duration::from_millis(20));
    }
    assert_eq!(hanging.child.try_wait().unwrap(), None);
    sleep(Duration::from_millis(600));
    hanging.signal(Whom::Supervisor, Signal::TERM);
    killed(vec![hanging.end()]);
}

fn name(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

#[test]
fn a_stopped_worker_stops_its_supervisor_and_both_go_on() {
    let hanging = Hanging::start("stop", false);
    hanging.signal(Whom::Worker, Signal::TSTP);
    wait_for_state(hanging.child.id(), 'T');
    hanging.signal(Whom::Supervisor, Signal::CONT);
    wait_for_state(hanging.child.id(), 'S');
    hanging.signal(Whom::Supervisor, Signal::TERM);
    interrupted(vec![hanging.end()]);
}

fn wait_for_state(pid: u32, wanted: char) {
    let begun = Instant::now();
    let state = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().rsplit_once(") ").unwrap().1.chars().next();
    while state() != Some(wanted) {
        assert!(begun.elapsed() < Duration::from_secs(20), "state of {pid}: {:?}", state());
        sleep(Duration::from_millis(10));
    }
}

/// A shell on a terminal of its own, typed at by the test.
struct Typist {
    child: Child,
    outer: fs::File,
    seen: Vec<u8>,
}

impl Typist {
    fn start(tree: &Path) -> Self {
        use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
        let outer = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        unlockpt(&outer).unwrap();
        let name = ptsname(&outer, Vec::new()).unwrap();
        let inner = fs::File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let size = rustix::termios::Winsize { ws_row: 33, ws_col: 111, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&outer, size).unwrap();
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(helper()).arg("shell").arg(tree).args(["sh", "-i"]);
        command.stdin(inner.try_clone().unwrap()).stdout(inner.try_clone().unwrap()).stderr(inner);
        Self { child: command.spawn().unwrap(), outer: outer.into(), seen: Vec::new() }
    }

    /// Types, then reads until `wanted` shows.
    fn talk(&mut self, text: &str, wanted: &str) {
        self.outer.write_all(text.as_bytes()).unwrap();
        let mut space = [0; 4096];
        // What was seen before must not count.
        self.seen.clear();
        while !String::from_utf8_lossy(&self.seen).contains(wanted) {
            let mut ready = [rustix::event::PollFd::new(&self.outer, rustix::event::PollFlags::IN)];
            let patience = rustix::event::Timespec { tv_sec: 20, tv_nsec: 0 };
            let waited = rustix::event::poll(&mut ready, Some(&patience)).unwrap();
            assert_eq!(waited, 1, "waiting for {wanted:?}; seen {:?}", String::from_utf8_lossy(&self.seen));
            let length = self.outer.read(&mut space).unwrap_or_else(|error| {
                panic!("waiting for {wanted:?}: {error}; seen {:?}", String::from_utf8_lossy(&self.seen))
            });
            self.seen.extend_from_slice(&space[..length]);
        }
    }
}

#[test]
fn a_shell_has_a_terminal_with_job_control() {
    let place = Folder::new("shell");
    let tree = place.0.join("tree");
    busybox_tree(&tree);
    let mut typist = Typist::start(&tree);
    typist.talk("tty; stty size; echo a$((1+1))b\n", "a2b");
    let text = String::from_utf8_lossy(&typist.seen).into_owned();
    assert!(text.contains("/dev/pts/0") && text.contains("33 111"), "{text}");
    assert!(!text.contains("job control turned off"), "{text}");
    typist.talk("sleep 1000\n", "sleep 1000");
    sleep(Duration::from_millis(300));
    typist.talk("\u{3}", "^C");
    typist.talk("echo $((100+30))after\n", "130after");
    typist.talk("sleep 1000\n", "sleep 1000");
    sleep(Duration::from_millis(300));
    typist.talk("\u{1a}", "Stopped");
    typist.talk("kill -9 %1; sleep 0.3; exit 3\n", "exit 3");
    assert_eq!(typist.child.wait().unwrap().code(), Some(3));
}

#[test]
fn a_shell_without_a_terminal_uses_the_streams_as_they_are() {
    let place = Folder::new("pipe");
    let tree = place.0.join("tree");
    busybox_tree(&tree);
    let mut command = Command::new(helper());
    command.arg("shell").arg(&tree).arg("sh").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"echo hi; exit 5\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(5), b"hi\n".as_slice()));
}

#[test]
fn probes_pass_where_builds_do() {
    for &ordinary in users() {
        let place = Folder::new(&format!("probe-{ordinary}"));
        let output =
            as_user(ordinary, &place.install(&helper())).arg("probe").env("TMPDIR", &place.0).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        for name in
            ["user namespace with 65536 ids", "overlay in a user namespace", "command in a sandbox", "free disk"]
        {
            assert!(text.contains(&format!("ok  {name}: ")), "{text}");
        }
        assert_eq!(fs::read_dir(&place.0).unwrap().count(), 1, "{text}");
    }
}

#[test]
fn what_is_missing_is_named_with_its_mend() {
    if !is_root() {
        // An ordinary user cannot become one without ids; the table of `enter::ids` has the case.
        return;
    }
    let place = Folder::new("missing");
    let helper = place.install(&helper());
    common::need_user();
    let told = |user: &str, path: &str| {
        let mut command = Command::new("/usr/bin/setpriv");
        command.args(["--reuid", user, "--regid", "65534", "--clear-groups"]).arg(&helper).args(["run", "/", "true"]);
        let output = command.env("PATH", path).output().unwrap();
        assert_eq!(output.status.code(), Some(4));
        String::from_utf8(output.stderr).unwrap()
    };
    let text = told("nobody", "/usr/bin");
    assert!(text.starts_with("user `nobody` has fewer than 65536 subordinate ids in `/etc/subuid`\n"), "{text}");
    assert!(text.contains("\nsudo usermod --add-subuids ") && text.contains(" --add-subgids "), "{text}");
    let text = told(common::USER, "/nowhere");
    assert!(text.starts_with("run `newuidmap`, which maps subordinate ids: No such file"), "{text}");
    assert!(text.ends_with("\nsudo apt-get install uidmap\n"), "{text}");
}
