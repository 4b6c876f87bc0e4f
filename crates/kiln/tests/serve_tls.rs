//! A build service with a certificate of a private authority: its own node, a node elsewhere, and `kiln submit` speak to it.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kiln_farm_api::{Client, NodeState, Trust};
use kiln_testkit::Authority;

const RECIPE: &str = "edition = 1\nname = \"edge\"\n\n[base]\ndistribution = \"debian\"\nrelease = \"13\"\n\n[[output]]\nformat = \"tar\"\n";

/// A kiln that works until this value ends.
struct Kiln(Child);

impl Kiln {
    fn spawn(home: &Path, words: &[&str]) -> Self {
        let mut command = kiln(home);
        Self(command.args(words).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("kiln is there"))
    }

    /// Returns the first line it says that holds `words`; what it says later is read and forgotten.
    fn says(&mut self, words: &str) -> String {
        let mut said = BufReader::new(self.0.stderr.take().expect("stderr is a pipe"));
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            assert_ne!(said.read_line(&mut line).unwrap(), 0, "it never says `{words}`");
        }
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        line
    }
}

impl Drop for Kiln {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn kiln(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    command.env_clear().env("HOME", home).env("PATH", std::env::var_os("PATH").unwrap_or_default()).current_dir(home);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_trusts_a_private_authority_that_is_named() {
    let (authority, home) = (Authority::new(), tempfile::tempdir().unwrap());
    let (home, (chain, key)) = (home.path(), authority.server("kiln"));
    let text = |path: &Path| path.display().to_string();
    let (chain, key, root) = (text(&chain), text(&key), text(&authority.root()));
    let words = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--data",
        "farm",
        "--keep-free",
        "0",
        "--tls-cert",
        &chain,
        "--tls-key",
        &key,
    ];
    let mut server = Kiln::spawn(home, &words);
    let said = server.says("kiln serves");
    let address = said.trim().strip_prefix("kiln serves ").unwrap().to_owned();
    assert!(address.starts_with("https://127.0.0.1:"), "{address}");

    // Its own node works, and so does one that is told of the authority.
    let trust = Trust::from_pem(&std::fs::read(authority.root()).unwrap()).unwrap();
    let token = std::fs::read_to_string(home.join("farm/admin.token")).unwrap();
    let admin = Client::trusting(address.parse().unwrap(), token.trim(), trust);
    let enrolled = admin.enrol("elsewhere".parse().unwrap()).await.unwrap();
    std::fs::write(home.join("credential"), enrolled.credential).unwrap();
    let words = [
        "node",
        "--server",
        &address,
        "--credential-file",
        "credential",
        "--data",
        "node",
        "--keep-free",
        "0",
        "--ca",
        &root,
    ];
    let _node = Kiln::spawn(home, &words);
    for name in ["built-in", "elsewhere"] {
        let mut tries = 0;
        while !admin
            .nodes()
            .await
            .unwrap()
            .iter()
            .any(|node| node.name.as_str() == name && node.state == NodeState::Ready)
        {
            tries += 1;
            assert!(tries < 200, "node {name} never comes up");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    // Whoever submits names it too, or lets it stand for all others; else nobody is spoken to.
    std::fs::write(home.join("kiln.toml"), RECIPE).unwrap();
    let submit = |more: &[&str], variables: &[(&str, &str)]| {
        let mut command = kiln(home);
        command.args(["submit", "kiln.toml", "--no-verify", "--server", &address, "--token-file", "farm/admin.token"]);
        let output = command.args(more).envs(variables.iter().copied()).output().unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    type Way<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)]);
    let ways: [Way<'_>; 3] =
        [(&["--ca", &root], &[]), (&[], &[("KILN_CA", &root)]), (&[], &[("SSL_CERT_FILE", &root)])];
    for (more, variables) in ways {
        let (code, stdout, stderr) = submit(more, variables);
        assert!(
            code == 0 && stdout.starts_with(&format!("{address}/builds/")),
            "{more:?} {variables:?}: {stdout}{stderr}"
        );
    }
    let (code, _, stderr) = submit(&[], &[]);
    assert!(code == 4 && stderr.contains("ertificate"), "{code} {stderr}");
    let (code, _, stderr) = submit(&["--ca", "kiln.toml"], &[]);
    assert!(code == 4 && stderr.contains("there is no `BEGIN CERTIFICATE` in it"), "{code} {stderr}");
}
