//! Two nodes with caches of their own: what one has made the other takes from the server.

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use common::alpine::{KEY, publish};
use common::{Bench, json};
use kiln_farm_api::{Client, StageFound};
use kiln_testkit::{Apk, ApkKey, Server, eventually, free_port};
use serde_json::Value;

const RECIPE: &str = "edition = 1\nname = \"edge\"\n\n[base]\ndistribution = \"alpine\"\nrelease = \"3.23\"\n\
                      architecture = \"amd64\"\nmirror = \"MIRROR\"\nkey = \"KEY\"\n\n[packages]\ninclude = [\"tool\"]\n\n\
                      [[file]]\npath = \"/etc/motd\"\ntext = \"hello\"\n\n[[output]]\nformat = \"tar\"\n";

/// A process that is told to end, and waited for.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

struct Farm {
    bench: Bench,
    port: u16,
    client: Client,
    runtime: tokio::runtime::Runtime,
    _server: Ending,
}

impl Farm {
    fn start() -> Self {
        let (bench, port) = (Bench::new(), free_port());
        let listen = format!("127.0.0.1:{port}");
        let mut command =
            bench.kiln(&["serve", "--listen", &listen, "--data", "farm", "--no-node", "--keep-free", "0"]);
        command.stdout(Stdio::null()).stderr(log(&bench, "serve")).env_remove("DATABASE_URL");
        let server = Ending(command.spawn().expect("kiln starts"));
        let token = bench.path("farm/admin.token");
        eventually("the server is up", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() && token.exists());
        let token = fs::read_to_string(token).unwrap();
        let client = Client::new(format!("http://{listen}").parse().unwrap(), token.trim());
        Self { bench, port, client, runtime: tokio::runtime::Runtime::new().unwrap(), _server: server }
    }

    fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Starts a node with a cache of its own; returns it with a client that speaks for it.
    fn node(&self, name: &str) -> (Ending, Client) {
        let enrolled = self.runtime.block_on(self.client.enrol(name.parse().unwrap())).unwrap();
        self.bench.write(&format!("{name}.credential"), &enrolled.credential);
        let words = ["node", "--server", &self.address(), "--keep-free", "0", "--slots", "1"];
        let mut command = self.bench.kiln(&words);
        command.args(["--credential-file", &format!("{name}.credential"), "--data", name]);
        command.args(["--cache", &format!("{name}-cache")]).stdout(Stdio::null()).stderr(log(&self.bench, name));
        let client = Client::new(self.address().parse().unwrap(), enrolled.credential);
        (Ending(command.spawn().expect("kiln starts")), client)
    }

    /// Builds, and returns the artifact and the report.
    fn build(&self, out: &str) -> (Vec<u8>, Value) {
        let mut command = self.bench.kiln(&["submit", "edge.toml", "--wait", "--out", out]);
        command.env("KILN_SERVER", self.address()).args(["--token-file", "farm/admin.token"]);
        common::Done::of(command.output().expect("kiln starts")).well();
        let report = fs::read_dir(self.bench.path(out)).unwrap().map(|entry| entry.unwrap().path());
        let report = report.into_iter().find(|path| path.to_string_lossy().ends_with("report.json"));
        (fs::read(self.bench.path(out).join("edge.tar")).unwrap(), json(&report.expect("a report")))
    }

    fn stage(&self, node: &Client, id: &str) -> StageFound {
        self.runtime.block_on(node.stage(id.parse().unwrap())).unwrap()
    }
}

fn log(bench: &Bench, name: &str) -> fs::File {
    let path: PathBuf = bench.path(&format!("{name}.log"));
    fs::File::options().create(true).append(true).open(path).unwrap()
}

/// Returns the ids of a report's stages of trees, and whether they came from a cache.
fn stages(report: &Value) -> Vec<(String, bool)> {
    let stages = report["stages"].as_array().unwrap().iter();
    let trees = stages.filter(|stage| !["image", "partitions", "sync"].iter().any(|kind| stage["stage"] == *kind));
    trees.map(|stage| (stage["id"].as_str().unwrap().to_owned(), stage["cached"].as_bool().unwrap())).collect()
}

#[test]
fn what_one_node_made_the_other_need_not() {
    let (farm, key) = (Farm::start(), ApkKey::new(KEY, false));
    farm.bench.write(KEY, &key.pem());
    let root = farm.bench.path("alpine");
    fs::create_dir_all(&root).unwrap();
    let server = Server::start(&root);
    let package = |name: &str| Apk::new(name, "1.0-r0").arch("x86_64");
    let tool = package("tool").file("usr/bin/tool", 0o4755, "#!/bin/sh\n").file("usr/share/tool", 0o600, "secret");
    let all = [package("alpine-base"), package("alpine-keys"), package("tzdata"), tool];
    publish(&root.join("v3.23/main/x86_64"), &all, &key);
    publish(&root.join("v3.23/community/x86_64"), &[], &key);
    let mirror = server.url("").trim_end_matches('/').to_owned();
    farm.bench.write("edge.toml", &RECIPE.replace("MIRROR", &mirror).replace("KEY", KEY));
    farm.bench.ok(&["lock", "edge.toml"]);

    let (one, client) = farm.node("one");
    let (bytes, report) = farm.build("first");
    let made = stages(&report);
    assert!(!made.is_empty() && made.iter().all(|(_, cached)| !cached), "{report:#}");
    eventually("the server has all stages", || made.iter().all(|(id, _)| farm.stage(&client, id).stage.is_some()));
    drop(one);

    let (two, client) = farm.node("two");
    let (again, report) = farm.build("second");
    assert!(stages(&report).iter().all(|(_, cached)| *cached), "{report:#}");
    assert_eq!(stages(&report).len(), made.len());
    assert!(again == bytes, "the bytes are others");
    // Bytes of stages are for nodes, also for those that have no task that needs them.
    let kept = farm.stage(&client, &made[0].0).stage.unwrap();
    farm.runtime.block_on(client.download(kept.sha256, &farm.bench.path("layer"))).unwrap();
    drop(two);

    // A server without them costs time and nothing else.
    let said = fs::read_to_string(farm.bench.path("two.log")).unwrap();
    assert!(!said.contains("builds go on without"), "{said}");
}
