//! A real repository, read by a real server: what changed by a push is built, and nothing else of the machine is read.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kiln_farm_api::source::{NewSource, Push, PushState, Source};
use kiln_farm_api::{Client, Name};

const RECIPE: &str = "edition = 1\nname = \"NAME\"\n\n[base]\ndistribution = \"debian\"\nrelease = \"13\"\n\n[[output]]\nformat = \"tar\"\n";

/// A kiln that serves until this value ends.
struct Farm {
    server: Child,
    client: Client,
    home: tempfile::TempDir,
}

impl Farm {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        // What a server left that was killed over it.
        fs::create_dir_all(home.path().join("farm/repositories/left/.git")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
        command.args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--no-node",
            "--keep-free",
            "0",
            "--sources-private",
            "--data",
            "farm",
        ]);
        command.env_remove("DATABASE_URL").env("HOME", home.path()).current_dir(home.path());
        let mut server = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(server.stderr.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("kiln serves ") {
            line.clear();
            assert_ne!(said.read_line(&mut line).unwrap(), 0);
        }
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::stderr()));
        let token = fs::read_to_string(home.path().join("farm/admin.token")).unwrap();
        let address = line.trim().trim_start_matches("kiln serves ").parse().unwrap();
        Self { server, client: Client::new(address, token.trim()), home }
    }

    async fn source(&self, url: String, credential: Option<&str>) -> Source {
        let (branches, recipes) = (vec!["main".into()], vec!["kiln.toml".into(), "images/*.toml".into()]);
        let new = NewSource { url, branches, recipes, secret: None, credential: credential.map(str::to_owned) };
        self.client.make_source(&project(), &new).await.unwrap()
    }

    /// Says what GitHub says of a push, signed by openssl; returns what became of it.
    async fn push(&self, source: &Source, before: &str, after: &str) -> Push {
        let body = format!(r#"{{"ref":"refs/heads/main","before":"{before}","after":"{after}"}}"#);
        let file = self.home.path().join("body");
        fs::write(&file, &body).unwrap();
        let digest = ["dgst", "-sha256", "-r", "-hmac", source.secret.as_deref().unwrap()];
        let signed = run(Command::new("openssl").args(digest).arg(&file));
        let digits = signed.split(' ').next().unwrap();
        let server = self.client.server();
        let at = format!("{server}api/v1/projects/default/sources/{}/push", source.id);
        let mut curl = Command::new("curl");
        curl.args(["-sSf", "--noproxy", "*", "-H", "X-GitHub-Event: push", "-H", "Content-Type: application/json"]);
        let told = run(curl.args(["-H", &format!("X-Hub-Signature-256: sha256={digits}"), "-d", &body, &at]));
        assert!(told.contains("push"), "{told}");
        let ended = self.ended(source).await;
        assert_eq!(fs::read_dir(self.home.path().join("farm/repositories")).unwrap().count(), 0);
        ended
    }

    async fn ended(&self, source: &Source) -> Push {
        for _ in 0..600 {
            let push = self.client.pushes(&project(), source.id).await.unwrap().swap_remove(0);
            if push.state != PushState::Waiting || push.error.is_some() {
                return push;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("nobody looks at it")
    }
}

impl Drop for Farm {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn project() -> Name {
    "default".parse().unwrap()
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A repository with a branch `main`.
struct Repository(PathBuf);

impl Repository {
    fn new(path: PathBuf) -> Self {
        fs::create_dir_all(&path).unwrap();
        let this = Self(path);
        this.git(&["init", "-q", "-b", "main"]);
        this
    }

    fn git(&self, words: &[&str]) -> String {
        let who = ["-c", "user.name=ann", "-c", "user.email=ann@example.org", "-c", "commit.gpgsign=false"];
        run(Command::new("git").arg("-C").arg(&self.0).args(who).args(words))
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Commits everything and returns the commit.
    fn commit(&self) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "x"]);
        self.git(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    fn url(&self) -> String {
        format!("file://{}", self.0.display())
    }
}

fn recipe(name: &str, more: &str) -> String {
    RECIPE.replace("NAME", name) + more
}

/// Returns the recipes of a push: path, and whether it is a build.
fn recipes(push: &Push) -> Vec<(&str, bool)> {
    push.recipes.iter().map(|recipe| (recipe.path.as_str(), recipe.build.is_some())).collect()
}

const ZERO: &str = "0000000000000000000000000000000000000000";

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_by_a_push_is_built() {
    let farm = Farm::start();
    let repository = Repository::new(farm.home.path().join("repository"));
    repository.write("kiln.toml", &recipe("root", ""));
    repository.write("images/a.toml", &recipe("a", "\n[[file]]\npath = \"/etc/motd\"\nsource = \"../files/motd\"\n"));
    repository.write("images/b.toml", &recipe("b", ""));
    repository.write("files/motd", "hello\n");
    repository.write("other/c.toml", "no recipe\n");
    let first = repository.commit();
    let source = farm.source(repository.url(), None).await;

    // The first push builds all; a file that one recipe names builds that one.
    let push = farm.push(&source, ZERO, &first).await;
    assert_eq!(recipes(&push), [("images/a.toml", true), ("images/b.toml", true), ("kiln.toml", true)], "{push:?}");
    let build = farm.client.build(push.recipes[0].build.unwrap()).await.unwrap();
    assert_eq!((build.name, build.by.as_str()), (format!("a main@{}", &first[..12]), "admin"));
    repository.write("files/motd", "hello again\n");
    let second = repository.commit();
    assert_eq!(recipes(&farm.push(&source, &first, &second).await), [("images/a.toml", true)]);
    repository.write("README", "nothing to build\n");
    let third = repository.commit();
    let push = farm.push(&source, &second, &third).await;
    assert_eq!((push.state, recipes(&push)), (PushState::Done, vec![]));

    // A lock is part of its recipe; a base that is gone leaves nothing out.
    repository.write("images/b.lock", "anything\n");
    let fourth = repository.commit();
    assert_eq!(recipes(&farm.push(&source, &third, &fourth).await), [("images/b.toml", true)]);
    fs::remove_file(repository.0.join("images/b.lock")).unwrap();
    let fifth = repository.commit();
    let unknown = "1234567890123456789012345678901234567890";
    assert_eq!(recipes(&farm.push(&source, unknown, &fifth).await).len(), 3);

    // A mistake is shown at its line, and does not keep others from being built.
    repository.write("images/b.toml", &recipe("b", "").replace("\"13\"", "\"99\""));
    repository.write("kiln.toml", &recipe("root", "# changed\n"));
    let sixth = repository.commit();
    let push = farm.push(&source, &fifth, &sixth).await;
    assert_eq!((push.state, recipes(&push)), (PushState::Failed, vec![("images/b.toml", false), ("kiln.toml", true)]));
    let said = &push.recipes[0].diagnostics[0];
    assert_eq!((said["file"].as_str(), said["line"].as_u64()), (Some("images/b.toml"), Some(6)), "{said}");

    // By hand all is built, of the branch as it is now.
    farm.client.build_source(&project(), source.id, "main").await.unwrap();
    let push = farm.ended(&source).await;
    assert_eq!((push.commit.as_deref(), push.recipes.len()), (Some(sixth.as_str()), 3));
    let told = farm.push(&source, &sixth, unknown).await;
    assert!(told.error.as_deref().unwrap().contains(&format!("has no `{unknown}`")), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_gets_at_nothing_of_the_machine() {
    let farm = Farm::start();
    let repository = Repository::new(farm.home.path().join("repository"));
    let file = |source: &str| format!("\n[[file]]\npath = \"/etc/motd\"\nsource = \"{source}\"\n");
    repository.write("images/absolute.toml", &recipe("absolute", &file("/etc/hostname")));
    repository.write("images/up.toml", &recipe("up", &file("../../../farm/admin.token")));
    repository.write("images/link.toml", &recipe("link", &file("link")));
    repository.write("images/git.toml", &recipe("git", &file("../.git/config")));
    std::os::unix::fs::symlink("/etc/hostname", repository.0.join("images/link")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", repository.0.join("images/passwd.toml")).unwrap();
    repository.write("images/locked.toml", &recipe("locked", ""));
    std::os::unix::fs::symlink(farm.home.path().join("farm/admin.token"), repository.0.join("images/locked.lock"))
        .unwrap();
    // What git would run, were it let.
    repository.write(".gitattributes", "* filter=evil\n");
    let commit = repository.commit();
    let source = farm.source(repository.url(), None).await;
    let push = farm.push(&source, ZERO, &commit).await;
    let all = ["absolute", "git", "link", "locked", "passwd", "up"].map(|name| format!("images/{name}.toml"));
    assert_eq!(recipes(&push), all.each_ref().map(|path| (path.as_str(), false)), "{push:?}");
    let said = serde_json::to_string(&push).unwrap();
    assert!(!said.contains("root:") && !said.contains("kiln_"), "{said}");
}

/// `git http-backend` behind so much HTTP as it needs; it lets in who knows the password, and keeps what it was asked.
fn forge(root: &Path) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, root) = (listener.local_addr().unwrap().port(), root.to_owned());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let root = root.clone();
            std::thread::spawn(move || answer(stream.unwrap(), &root));
        }
    });
    port
}

fn answer(mut stream: TcpStream, root: &Path) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut lines = vec![];
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let header = |name: &str| {
        let found =
            lines.iter().find_map(|line| line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)));
        found.map(|(_, value)| value.to_owned()).unwrap_or_default()
    };
    // ann:open
    if header("authorization") != "Basic YW5uOm9wZW4=" {
        let refusal = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        return stream.write_all(refusal.as_bytes()).unwrap();
    }
    let mut body = vec![0; header("content-length").parse().unwrap_or(0)];
    reader.read_exact(&mut body).unwrap();
    let mut words = lines[0].split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut backend = Command::new("git");
    backend.arg("http-backend").env("GIT_PROJECT_ROOT", root).env("GIT_HTTP_EXPORT_ALL", "1");
    backend.env("PATH_INFO", path).env("QUERY_STRING", query).env("REQUEST_METHOD", method);
    backend.env("CONTENT_TYPE", header("content-type")).env("CONTENT_LENGTH", body.len().to_string());
    backend.env("HTTP_CONTENT_ENCODING", header("content-encoding")).env("GIT_PROTOCOL", header("git-protocol"));
    backend.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", "safe.directory").env("GIT_CONFIG_VALUE_0", "*");
    let mut child = backend.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    std::thread::spawn(move || input.write_all(&body));
    let output = child.wait_with_output().unwrap().stdout;
    stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n").unwrap();
    stream.write_all(&output).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_repository_is_opened_by_its_credential() {
    let farm = Farm::start();
    let root = farm.home.path().join("forge");
    let repository = Repository::new(root.join("images"));
    repository.write("kiln.toml", &recipe("root", ""));
    let first = repository.commit();
    let url = format!("http://127.0.0.1:{}/images/.git", forge(&root));
    let without = farm.source(url.clone(), None).await;
    let push = farm.push(&without, ZERO, &first).await;
    assert!(push.state == PushState::Failed && push.error.as_deref().unwrap().contains("lets nobody in"), "{push:?}");
    let with = farm.source(url, Some("ann:open")).await;
    assert_eq!(recipes(&farm.push(&with, ZERO, &first).await), [("kiln.toml", true)]);
    repository.write("README", "x");
    let second = repository.commit();
    let push = farm.push(&with, &first, &second).await;
    assert_eq!((push.state, recipes(&push)), (PushState::Done, vec![]));
}
