//! packaging/Containerfile and packaging/compose.yaml as Podman reads them: the service in its container, with a PostgreSQL, a Redis and a
//! store that speaks S3 beside it.
//!
//! No registry is asked. Where the two name images of others, there are ones from a Debian that kiln builds, with Debian's own PostgreSQL and
//! Redis; behind the name of MinIO stands the tests' S3 server, in a container too, behind that of its client curl.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use common::farm::Farm;
use common::{Bench, Done, tool};
use kiln_testkit::{S3, eventually};

const BASE: &str = "edition = 1\nname = \"base\"\n\n[base]\ndistribution = \"debian\"\nrelease = \"13\"\narchitecture = \"amd64\"\n\
     security = false\nupdates = false\n\n[packages]\nbase = \"essential\"\ninclude = [\"apt\", \"ca-certificates\", \"curl\", \"git\", \
     \"libcap2-bin\", \"postgresql-17\", \"redis-server\", \"uidmap\"]\n\n\
     [[script]]\nafter = \"cleanup\"\nname = \"packages are there, archives are not\"\ntext = \"rm -r /etc/apt/sources.list.d/*\"\n\n\
     [[output]]\nformat = \"tar\"\n";

/// What the image of PostgreSQL does with its parameters.
const POSTGRES: &str = r#"#!/bin/sh
set -eu
cd /var/lib/postgresql/data
mkdir -p /run/postgresql
chown postgres: . /run/postgresql
postgres() { setpriv --reuid postgres --regid postgres --init-groups "$@"; }
bin=/usr/lib/postgresql/17/bin
if [ ! -e PG_VERSION ]; then
    echo "$POSTGRES_PASSWORD" >/run/password
    chmod 644 /run/password
    postgres $bin/initdb -D . -U "$POSTGRES_USER" --pwfile /run/password --auth-host scram-sha-256
    echo 'host all all all scram-sha-256' >>pg_hba.conf
    postgres $bin/pg_ctl -D . -l start.log -w -o "-c listen_addresses=" start
    postgres $bin/createdb -U "$POSTGRES_USER" "$POSTGRES_DB"
    postgres $bin/pg_ctl -D . -w stop
fi
exec setpriv --reuid postgres --regid postgres --init-groups $bin/postgres -D . -c listen_addresses='*'
"#;

/// The tests' own server, which is in this very program.
const MINIO: &str = "#!/bin/sh\nKILN_TEST_STORE=$2 exec tests --exact boot_a_farm_of_containers --nocapture\n";

/// The two commands of MinIO's client that compose.yaml has.
const MC: &str = r#"#!/bin/sh
ask() { curl -fsS --user "$key" --aws-sigv4 aws:amz:us-east-1:s3 "$@"; }
case $1 in
    alias) key=$5:$6 ask -o /dev/null "$4/" && echo "$4 $5:$6" >/run/alias ;;
    mb) read -r at key </run/alias && ask -X PUT "$at/${3#s3/}" ;;
esac
"#;

/// The images that others make, and what is in place of them.
const IMAGES: [(&str, &str); 4] = [
    (
        "docker.io/library/postgres:17",
        "VOLUME [\"/var/lib/postgresql/data\"]\nENTRYPOINT [\"/usr/local/bin/postgres\"]\n",
    ),
    (
        "docker.io/library/redis:7",
        "ENTRYPOINT [\"/usr/bin/redis-server\", \"--bind\", \"0.0.0.0\", \"--protected-mode\", \"no\"]\n",
    ),
    ("docker.io/minio/minio", "ENTRYPOINT [\"/usr/local/bin/minio\"]\n"),
    ("docker.io/minio/mc", "ENTRYPOINT [\"/usr/local/bin/mc\"]\n"),
];

/// Podman's own folders, and no more of the machine than is there: no systemd, perhaps no control groups, limits as they are.
const CONTAINERS: &str = r#"
[containers]
cgroups = "disabled"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "k8s-file"

[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "FOLDER/tmp"
volume_path = "FOLDER/volumes"

[network]
network_backend = "netavark"
network_config_dir = "FOLDER/networks"
"#;
const STORAGE: &str = "[storage]\ndriver = \"overlay\"\ngraphroot = \"FOLDER/graph\"\nrunroot = \"FOLDER/run\"\n";

/// Names the folder with what was built, for the run of the test that has the namespaces.
const INSIDE: &str = "KILN_TEST_CONTAINERS";

/// Names the folder of objects, for the run of the test that is a store in a container.
const STORE: &str = "KILN_TEST_STORE";

/// In namespaces of its own, so that nothing stays: no container, no network, no rule of a firewall.
#[test]
fn boot_a_farm_of_containers() {
    if let Some(folder) = env::var_os(STORE) {
        let _store = S3::start_in(Path::new(&folder), 9000, ["kiln", "kiln-secret"]);
        std::thread::park();
    }
    if let Some(folder) = env::var_os(INSIDE) {
        return inside(&PathBuf::from(folder));
    }
    let bench = Bench::shared();
    bench.package_of_kiln("farm/target/kiln.deb");
    for name in ["Containerfile", "compose.yaml"] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging").join(name);
        bench.write(&format!("farm/packaging/{name}"), &fs::read_to_string(from).unwrap());
    }
    bench.write("base.toml", BASE);
    bench.ok(&["build", "base.toml"]);
    for (name, text) in [("postgres", POSTGRES), ("minio", MINIO), ("mc", MC)] {
        bench.write(&format!("others/{name}"), text);
    }
    fs::copy(env::current_exe().unwrap(), bench.path("others/tests")).unwrap();
    let status = Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "boot_a_farm_of_containers", "--nocapture"])
        .env(INSIDE, bench.path(""))
        .stdin(Stdio::null())
        .status();
    assert!(status.unwrap().success());
}

fn inside(folder: &Path) {
    tool("ip", &["link", "set", "lo", "up"]);
    // Podman's resolver keeps there which names containers have, also those of another run.
    tool("mount", &["-t", "tmpfs", "none", "/run"]);
    // A machine may have both kinds of control groups, which no runtime takes.
    tool("mount", &["-t", "cgroup2", "none", "/sys/fs/cgroup"]);
    let podman = Podman::new(folder);
    podman.images();
    podman.compose(&["up", "-d", "--build"]);

    // It is started again until it has its database.
    let ready = || {
        let asked = Command::new("curl").args(["-sf", "-o", "/dev/null", "http://127.0.0.1:8080/ready"]).status();
        asked.unwrap().success()
    };
    eventually("the service is ready", ready);
    let logs = podman.run(&["logs", "packaging_kiln_1"]);
    assert!(logs.contains("log in as administrator, once, within a day: http://127.0.0.1:8080/welcome/"), "{logs}");
    let tables = ["exec", "packaging_postgres_1", "psql", "-U", "kiln", "-h", "/run/postgresql", "-tAc"];
    let counted = podman.run(&[&tables[..], &["SELECT count(*) FROM users"]].concat());
    assert_eq!(counted.trim(), "1");

    let token = podman.run(&["exec", "packaging_kiln_1", "cat", "/var/lib/kiln/admin.token"]);
    let farm = Farm::of_another(Bench::new(), 8080, &token);
    let _mirror = farm.recipe();
    let (_node, _) = farm.node("n");
    let (first, _) = farm.build("first");
    let bucket = folder.join("podman/volumes/packaging_s3/_data/kiln");
    assert!(bucket.read_dir().unwrap().count() > 0, "nothing is in the bucket");
    let mut submit = farm.bench.kiln(&["submit", "edge.toml", "--wait", "--channel", "demo", "--out", "spoken"]);
    submit.args(["--server", &farm.address(), "--token-file", "farm/admin.token"]);
    Done::of(submit.output().unwrap()).well();
    // The server speaks by itself, perhaps a moment later.
    let heard = ["exec", "packaging_redis_1", "redis-cli", "--raw", "XREVRANGE", "kiln:demo:stream", "+", "-"];
    eventually("Redis has heard that the build is done", || podman.run(&heard).contains("1000"));

    podman.call(
        "podman",
        "farm",
        &["build", "-q", "-f", "packaging/Containerfile", "--target", "pieman", "-t", "pieman", "."],
    );
    let about = podman.run(&["run", "--rm", "pieman", "--help"]);
    assert!(about.contains("Usage: kiln pieman"), "{about}");

    // What a container was told by its user stays when it is another one: all of it is in the others and in volumes.
    podman.compose(&["down"]);
    assert!(!ready());
    podman.compose(&["up", "-d"]);
    eventually("the service is ready again", ready);
    assert_eq!(farm.build("second").0, first);
    let builds = podman.run(&[&tables[..], &["SELECT count(*) FROM builds"]].concat());
    assert_eq!(builds.trim(), "3");
}

/// Podman with folders of its own.
struct Podman {
    folder: PathBuf,
}

impl Podman {
    fn new(folder: &Path) -> Self {
        let own = folder.join("podman");
        fs::create_dir(&own).unwrap();
        for (name, text) in [("containers.conf", CONTAINERS), ("storage.conf", STORAGE)] {
            fs::write(own.join(name), text.replace("FOLDER", &own.display().to_string())).unwrap();
        }
        Self { folder: folder.to_owned() }
    }

    fn images(&self) {
        self.run(&["import", "-q", "out/base.tar", "docker.io/library/debian:trixie-slim"]);
        let base =
            ("others", "FROM docker.io/library/debian:trixie-slim\nCOPY --chmod=755 * /usr/local/bin/\n".to_owned());
        let others = IMAGES.map(|(image, text)| (image, format!("FROM others\n{text}")));
        for (image, text) in std::iter::once(base).chain(others) {
            fs::write(self.folder.join("others.Containerfile"), text).unwrap();
            self.run(&["build", "-q", "-f", "others.Containerfile", "-t", image, "others"]);
        }
    }

    fn compose(&self, words: &[&str]) {
        self.call("podman-compose", "farm/packaging", words);
    }

    fn run(&self, words: &[&str]) -> String {
        self.call("podman", "", words)
    }

    #[track_caller]
    fn call(&self, program: &str, at: &str, words: &[&str]) -> String {
        let own = self.folder.join("podman");
        let output = Command::new(program)
            .args(words)
            .current_dir(self.folder.join(at))
            .env("CONTAINERS_CONF", own.join("containers.conf"))
            .env("CONTAINERS_STORAGE_CONF", own.join("storage.conf"))
            .env("BUILDAH_ISOLATION", "chroot")
            .stdin(Stdio::null())
            .output();
        let output =
            output.unwrap_or_else(|error| panic!("run {program} ({error}); `scripts/setup --tests` installs it"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (said, complained) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{program} {words:?}: {said}\n{complained}");
        if words[0] == "logs" { said + &complained } else { said }
    }
}
