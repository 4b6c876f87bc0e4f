//! A build service, and nodes in processes of their own.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use kiln_farm_api::{Client, StageFound};
use kiln_testkit::{Apk, ApkKey, Server, eventually, free_port};
use serde_json::Value;

use super::alpine::{KEY, publish};
use super::{Bench, Done, json};

const RECIPE: &str = "edition = 1\nname = \"edge\"\n\n[base]\ndistribution = \"alpine\"\nrelease = \"3.23\"\n\
                      architecture = \"amd64\"\nmirror = \"MIRROR\"\nkey = \"KEY\"\n\n[packages]\ninclude = [\"tool\"]\n\n\
                      [[file]]\npath = \"/etc/motd\"\ntext = \"hello\"\n\n[[output]]\nformat = \"tar\"\n";

/// A process that is told to end, and waited for.
pub struct Ending(pub Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// A service upon a folder that is there already.
pub struct Upon {
    pub address: String,
    _server: Ending,
}

/// A service without a node, and who asks it.
pub struct Farm {
    pub bench: Bench,
    port: u16,
    pub client: Client,
    pub runtime: tokio::runtime::Runtime,
    server: Option<Ending>,
}

impl Farm {
    pub fn start() -> Self {
        let (bench, port) = (Bench::new(), free_port());
        let (server, token) = (serve(&bench, port, "farm"), bench.path("farm/admin.token"));
        eventually("there is an administrator", || token.exists());
        let token = fs::read_to_string(token).unwrap();
        Self { server: Some(server), ..Self::of_another(bench, port, &token) }
    }

    /// A service that somebody else started, with the token of its administrator.
    pub fn of_another(bench: Bench, port: u16, token: &str) -> Self {
        bench.write("farm/admin.token", token);
        let client = Client::new(format!("http://127.0.0.1:{port}").parse().unwrap(), token.trim());
        Self { bench, port, client, runtime: tokio::runtime::Runtime::new().unwrap(), server: None }
    }

    /// Starts another from a folder of a bench.
    pub fn upon(bench: &Bench, data: &str) -> Upon {
        let port = free_port();
        Upon { address: format!("http://127.0.0.1:{port}"), _server: serve(bench, port, data) }
    }

    /// Returns how much memory the service has, bytes (`VmRSS` of proc(5)).
    pub fn memory(&self) -> u64 {
        let server = self.server.as_ref().expect("it was started here");
        let status = fs::read_to_string(format!("/proc/{}/status", server.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it is listed");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Writes `edge.toml`, an Alpine of four packages, and its lock; returns the mirror that has them.
    pub fn recipe(&self) -> Server {
        self.bench.write(KEY, &ApkKey::new(KEY, false).pem());
        self.publish("1.0-r0");
        let server = Server::start(&self.bench.path("alpine"));
        let mirror = server.url("").trim_end_matches('/').to_owned();
        self.bench.write("edge.toml", &RECIPE.replace("MIRROR", &mirror).replace("KEY", KEY));
        self.bench.ok(&["lock", "edge.toml"]);
        server
    }

    /// Adds a script to the recipe.
    pub fn with_script(&self, text: &str) {
        let recipe = fs::read_to_string(self.bench.path("edge.toml")).unwrap();
        let recipe = recipe.split("\n[[script]]").next().unwrap().trim_end();
        let recipe = recipe.replace("include = [\"tool\"]", "include = [\"tool\", \"shell\"]");
        self.bench.write("edge.toml", &format!("{recipe}\n\n[[script]]\nafter = \"packages\"\ntext = '''{text}'''\n"));
        self.bench.ok(&["lock", "edge.toml"]);
    }

    /// Makes the mirror, or fills it anew: with that version of `tool`.
    pub fn publish(&self, version: &str) {
        let (root, key) = (self.bench.path("alpine/v3.23"), ApkKey::new(KEY, false));
        let package = |name: &str, version: &str| Apk::new(name, version).arch("x86_64");
        let tool = package("tool", version).file("usr/bin/tool", 0o4755, "#!/bin/sh\n");
        let tool = tool.file("usr/share/tool", 0o600, "secret");
        let others = ["alpine-base", "alpine-keys", "tzdata"].map(|name| package(name, "1.0-r0"));
        let folders = ["dev", "etc", "proc", "run", "sys", "tmp", "var"];
        let shell = folders.into_iter().fold(package("shell", "1.0-r0"), |apk, folder| apk.dir(folder, 0o755));
        let shell = super::alpine::shell(shell, &["/bin/sh", "/bin/sleep"]);
        let all: Vec<_> = others.into_iter().chain([tool, shell]).collect();
        publish(&root.join("main/x86_64"), &all, &key);
        publish(&root.join("community/x86_64"), &[], &key);
    }

    /// Starts a node with a cache of its own; returns it with a client that speaks for it.
    pub fn node(&self, name: &str) -> (Ending, Client) {
        let client = self.enrol(name);
        (self.run_node(name, &[]), client)
    }

    /// Makes a node known; returns a client that speaks for it.
    pub fn enrol(&self, name: &str) -> Client {
        let enrolled = self.runtime.block_on(self.client.enrol(name.parse().unwrap())).unwrap();
        self.bench.write(&format!("{name}.credential"), &enrolled.credential);
        Client::new(self.address().parse().unwrap(), enrolled.credential)
    }

    /// Starts a node that is known.
    pub fn run_node(&self, name: &str, environment: &[(&str, &str)]) -> Ending {
        self.run_node_with(name, &["--keep-free", "0"], environment)
    }

    /// The same with more words on its command line.
    pub fn run_node_with(&self, name: &str, more: &[&str], environment: &[(&str, &str)]) -> Ending {
        let address = self.address();
        let words = ["node", "--server", &address, "--slots", "1"];
        let mut command = self.bench.kiln(&[&words[..], more].concat());
        command.args(["--credential-file", &format!("{name}.credential"), "--data", name]);
        command.args(["--cache", &format!("{name}-cache")]).stdout(Stdio::null()).stderr(log(&self.bench, name));
        Ending(command.envs(environment.iter().copied()).spawn().expect("kiln starts"))
    }

    /// Builds, and returns the artifact and the report.
    #[track_caller]
    pub fn build(&self, out: &str) -> (Vec<u8>, Value) {
        let mut command = self.bench.kiln(&["submit", "edge.toml", "--wait", "--out", out]);
        command.env("KILN_SERVER", self.address()).args(["--token-file", "farm/admin.token"]);
        Done::of(command.output().expect("kiln starts")).well();
        let report = fs::read_dir(self.bench.path(out)).unwrap().map(|entry| entry.unwrap().path());
        let report = report.into_iter().find(|path| path.to_string_lossy().ends_with("report.json"));
        (fs::read(self.bench.path(out).join("edge.tar")).unwrap(), json(&report.expect("a report")))
    }

    pub fn stage(&self, node: &Client, id: &str) -> StageFound {
        self.runtime.block_on(node.stage(id.parse().unwrap())).unwrap()
    }
}

/// Starts a service, and returns when it can be asked.
fn serve(bench: &Bench, port: u16, data: &str) -> Ending {
    let listen = format!("127.0.0.1:{port}");
    let mut command = bench.kiln(&["serve", "--listen", &listen, "--data", data, "--no-node", "--keep-free", "0"]);
    command.stdout(Stdio::null()).stderr(log(bench, "serve")).env_remove("DATABASE_URL");
    let server = Ending(command.spawn().expect("kiln starts"));
    eventually("the server is up", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    server
}

fn log(bench: &Bench, name: &str) -> fs::File {
    let path: PathBuf = bench.path(&format!("{name}.log"));
    fs::File::options().create(true).append(true).open(path).unwrap()
}
