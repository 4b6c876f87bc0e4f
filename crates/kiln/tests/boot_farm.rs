//! The farm as its users have it: one command serves, another submits, and the bytes are those of a build at home.

mod common;

use std::process::{Child, Command, Stdio};

use common::Bench;
use kiln_testkit::{eventually, free_port};
use serde_json::Value;

/// A `kiln serve` with its own node; killed in the end.
struct Farm<'a> {
    bench: &'a Bench,
    port: u16,
    process: Child,
}

impl<'a> Farm<'a> {
    fn start(bench: &'a Bench) -> Self {
        let port = free_port();
        let farm = Self { bench, port, process: Self::spawn(bench, port) };
        farm.up();
        farm
    }

    fn spawn(bench: &Bench, port: u16) -> Child {
        let listen = format!("127.0.0.1:{port}");
        // The ring's disk may be fuller than a farm's.
        let mut command = bench.kiln(&["serve", "--listen", &listen, "--data", "farm", "--slots", "1"]);
        let log = std::fs::File::options().create(true).append(true).open(bench.path("serve.log")).unwrap();
        command.stderr(log).stdout(Stdio::null()).env_remove("DATABASE_URL");
        command.spawn().expect("kiln starts")
    }

    fn up(&self) {
        let url = format!("http://127.0.0.1:{}/ready", self.port);
        let asked = || Command::new("curl").args(["-sf", "-o", "/dev/null", &url]).status().expect("curl is there");
        eventually("the server is ready", || asked().success());
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn again(&mut self) {
        self.process = Self::spawn(self.bench, self.port);
        self.up();
    }

    /// Runs a command of the farm's client.
    fn client(&self, words: &[&str]) -> common::Done {
        let mut command = self.bench.kiln(words);
        command
            .env("KILN_SERVER", format!("http://127.0.0.1:{}", self.port))
            .args(["--token-file", "farm/admin.token"]);
        common::Done::of(command.output().expect("kiln starts"))
    }

    fn get(&self, path: &str) -> String {
        let token = std::fs::read_to_string(self.bench.path("farm/admin.token")).unwrap();
        let url = format!("http://127.0.0.1:{}/api/v1/{path}", self.port);
        common::tool("curl", &["-sS", "--retry", "5", "-H", &format!("Authorization: Bearer {}", token.trim()), &url])
    }

    fn build(&self, id: &str) -> Value {
        serde_json::from_str(&self.get(&format!("builds/{id}"))).expect("a build as JSON")
    }

    fn log(&self, id: &str) -> String {
        self.get(&format!("builds/{id}/log"))
    }
}

impl Drop for Farm<'_> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const EDGE: &str = "edition = 1\nname = \"edge\"\n[base]\ndistribution = \"debian\"\nrelease = \"13\"\n\
                    [[file]]\npath = \"/etc/motd\"\nsource = \"files/motd\"\n[[output]]\nformat = \"tar\"\n";

const SLOW: &str = "edition = 1\nname = \"slow\"\n[base]\ndistribution = \"debian\"\nrelease = \"13\"\n\
                    [[script]]\nafter = \"packages\"\ntext = \"for i in $(seq 1 20); do echo tick $i; sleep 1; done\"\n\
                    [[output]]\nformat = \"tar\"\n";

#[test]
fn boot_farm_builds_what_is_built_at_home_and_survives() {
    let bench = Bench::shared();
    bench.write("edge/edge.toml", EDGE);
    bench.write("edge/files/motd", "from the farm\n");
    // Another script each time: one that ran to its end is in the cache, and would not run again.
    let slow = SLOW.replace("tick $i", &format!("tick $i of {}", uuid()));
    bench.write("slow.toml", &slow);
    bench.ok(&["lock", "edge/edge.toml"]);
    bench.ok(&["lock", "slow.toml"]);
    let mut farm = Farm::start(&bench);

    let done = farm.client(&["submit", "edge/edge.toml", "--wait", "--out", "there"]).well();
    assert!(done.stderr.contains("image: done"), "{}", done.stderr);
    bench.ok(&["build", "edge/edge.toml", "--out", "home"]);
    let bytes = |folder: &str| std::fs::read(bench.path(&format!("{folder}/edge.tar"))).unwrap();
    assert!(bytes("there") == bytes("home"), "the farm's bytes are others than those of a build at home");
    let motd = common::tool("tar", &["-xOf", &bench.path("there/edge.tar").display().to_string(), "./etc/motd"]);
    assert_eq!(motd, "from the farm\n");

    // A mistake is told at its line before anything is sent; one that only shows while it builds has its own exit code.
    bench.write("wrong.toml", &EDGE.replace("\"13\"", "\"99\""));
    assert!(farm.client(&["submit", "wrong.toml"]).ended(1).stderr.contains("[wrong.toml:5:"));
    bench.write(
        "failing.toml",
        &slow.replace("for i", "echo it goes wrong >&2; exit 3; for i").replace("slow", "failing"),
    );
    let failed = farm.client(&["submit", "failing.toml", "--wait", "--out", "none"]).ended(1);
    assert!(failed.stderr.contains("it goes wrong"), "{}", failed.stderr);

    // Cancelled while a command runs.
    let id = submitted(&farm);
    ticks(&farm, &id);
    farm.client(&["cancel", &id]).well();
    eventually("it is cancelled", || farm.build(&id)["state"] == "cancelled");
    eventually("its kiln is gone", || !builds_here(&bench));

    // Killed, server and node at once: nothing stays behind, and it is done again from the beginning.
    let id = submitted(&farm);
    ticks(&farm, &id);
    farm.kill();
    eventually("its kiln is gone", || !builds_here(&bench));
    farm.again();
    ticks(&farm, &id);
    eventually("it is done", || farm.build(&id)["state"] == "done");
    let log = farm.log(&id);
    assert_eq!(farm.build(&id)["tasks"][0]["epoch"], 2, "{log}");
    assert!(log.contains("it goes out again"), "{log}");
}

/// The recipes of docs/farm.md: one makes a package, the other one installs it.
#[test]
fn boot_farm_makes_a_package_and_then_the_image_that_has_it() {
    let bench = Bench::shared();
    let docs = include_str!("../../../docs/farm.md");
    let agent = docs.split("```toml\n").find(|part| part.contains("dpkg-deb")).unwrap().split("```").next().unwrap();
    let base = "edition = 1\n\n[base]\ndistribution = \"debian\"\nrelease = \"13\"\n\n";
    bench.write("agent.toml", &format!("{base}{agent}"));
    let image = "[packages]\nfiles = [\"debs/agent.deb\"]\n\n[[output]]\nformat = \"tar\"\n";
    bench.write("edge.toml", &format!("{base}{image}"));
    let farm = Farm::start(&bench);
    farm.client(&["submit", "edge.toml", "--needs", "debs=agent.toml", "--wait", "--out", "there"]).well();
    let deb = bench.path("there/debs/agent.deb").display().to_string();
    assert_eq!(common::tool("dpkg-deb", &["--field", &deb, "Package", "Version"]), "Package: agent\nVersion: 1.0\n");

    let (tar, root) = (bench.path("there/image/edge.tar").display().to_string(), bench.path("root"));
    std::fs::create_dir(&root).unwrap();
    let root = root.display().to_string();
    common::tool("tar", &["-xf", &tar, "-C", &root, "./var/lib/dpkg", "./usr/bin/agent"]);
    let admin = format!("--admindir={root}/var/lib/dpkg");
    assert_eq!(common::tool("dpkg-query", &[&admin, "-W", "-f", "${db:Status-Abbrev} ${Version}", "agent"]), "ii  1.0");
    assert_eq!(common::tool("dpkg", &[&admin, "--audit"]), "");
    assert_eq!(common::tool("sh", &[&format!("{root}/usr/bin/agent")]), "hello\n");

    // At home, one after the other.
    bench.ok(&["build", "agent.toml", "--out", "debs"]);
    assert!(std::fs::read(bench.path("debs/agent.deb")).unwrap() == std::fs::read(&deb).unwrap());
    bench.ok(&["build", "edge.toml", "--out", "home"]);
    assert!(std::fs::read(bench.path("home/edge.tar")).unwrap() == std::fs::read(&tar).unwrap());
}

/// Waits until a build's script is at work, as long as that takes on a machine that has other things to do.
fn ticks(farm: &Farm<'_>, id: &str) {
    let began = std::time::Instant::now();
    // In the last run, where it ran before.
    let ticks = |log: &str| log.rsplit("goes to node").next().is_some_and(|run| run.contains("tick 2"));
    loop {
        let log = farm.log(id);
        if ticks(&log) {
            return;
        }
        let said = std::fs::read_to_string(farm.bench.path("serve.log")).unwrap_or_default();
        assert!(began.elapsed().as_secs() < 300, "it never ticks\n{log}\n{}\n{said}", farm.build(id));
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

fn uuid() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/uuid").expect("the kernel makes them").trim().to_owned()
}

fn submitted(farm: &Farm<'_>) -> String {
    let done = farm.client(&["submit", "slow.toml"]).well();
    let words = format!("{}\n{}", done.stdout, done.stderr);
    let id = words.split(|c: char| !c.is_ascii_hexdigit() && c != '-').find(|word| word.len() == 36);
    id.unwrap_or_else(|| panic!("no build is named: {words}")).to_owned()
}

/// Whether a kiln builds for this farm.
fn builds_here(bench: &Bench) -> bool {
    let folder = bench.path("farm/node").display().to_string();
    let found = Command::new("pgrep").args(["-f", &format!("build .*{folder}")]).output().expect("pgrep is there");
    !found.stdout.is_empty()
}
