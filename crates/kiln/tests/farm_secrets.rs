//! A recipe with secrets on a farm: from `kiln secret set` into the image, and nowhere else.

mod common;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use common::farm::Farm;
use common::terminal::{INTERRUPT, Session};
use common::{Done, tool};
use kiln_farm_api::{Order, Poll, Resources, Submission, Variable, Work};
use kiln_model::Digest;

const VALUE: &str = "correct horse \"battery\"";
const SECRETS: &str = "\n[[file]]\npath = \"/etc/token\"\nsecret = \"token\"\n\n[secrets]\ntoken = SOURCE\n";

fn asking(farm: &Farm, words: &[&str]) -> Command {
    let mut command = farm.bench.kiln(words);
    command.env("KILN_SERVER", farm.address()).args(["--token-file", "farm/admin.token"]);
    command
}

fn run(farm: &Farm, words: &[&str]) -> Done {
    Done::of(asking(farm, words).output().expect("kiln starts"))
}

fn set(farm: &Farm, name: &str, value: &str) -> Done {
    let mut command = asking(farm, &["secret", "set", name]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(value.as_bytes()).unwrap();
    Done::of(child.wait_with_output().unwrap())
}

/// Returns the files under a folder that hold these bytes.
fn holding(folder: &Path, bytes: &[u8]) -> Vec<String> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path, bytes));
        } else if path.is_file() && fs::read(&path).unwrap().windows(bytes.len()).any(|some| some == bytes) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn a_secret_of_the_project_is_in_the_image_and_in_nothing_else() {
    let farm = Farm::start();
    let _mirror = farm.recipe();
    let recipe = fs::read_to_string(farm.bench.path("edge.toml")).unwrap();
    let from = |source: &str| farm.bench.write("edge.toml", &(recipe.clone() + &SECRETS.replace("SOURCE", source)));
    let (_node, _) = farm.node("one");
    let submit = ["submit", "edge.toml", "--wait", "--out", "out"];

    // A file of secrets stays where it is, and a variable of the node is nobody's secret.
    farm.bench.write("token", VALUE);
    from("{ file = \"token\" }");
    let refused = run(&farm, &submit).ended(1);
    assert!(refused.stderr.contains("secret `token` of the recipe comes from a file"), "{}", refused.stderr);
    assert!(refused.stderr.contains("kiln secret set NAME"), "{}", refused.stderr);
    fs::remove_file(farm.bench.path("token")).unwrap();
    from("{ env = \"HOME\" }");
    let refused = run(&farm, &submit).ended(4);
    assert!(refused.stderr.contains("`default` has no secret `HOME`"), "{}", refused.stderr);
    from("{ env = \"EDGE_TOKEN\" }");
    let refused = run(&farm, &submit).ended(4);
    assert!(refused.stderr.contains("kiln secret set EDGE_TOKEN --project default"), "{}", refused.stderr);

    assert!(set(&farm, "EDGE_TOKEN", "abc").ended(4).stderr.contains("4 to 65536 bytes"));
    assert_eq!(set(&farm, "EDGE_TOKEN", &format!("{VALUE}\n")).well().stderr, "`default` has a secret `EDGE_TOKEN`\n");
    let listed = run(&farm, &["secret", "list"]).well().stdout;
    assert!(listed.starts_with("EDGE_TOKEN  set 20") && listed.ends_with(" by admin\n"), "{listed}");

    // What the one who submits has in the environment does not count.
    let submitted = asking(&farm, &submit).env("EDGE_TOKEN", "of the client").output().unwrap();
    let said = Done::of(submitted).well();
    assert!(!said.stderr.contains("horse") && !said.stdout.contains("horse"));
    let image = farm.bench.path("out/edge.tar").display().to_string();
    let names = tool("tar", &["tf", &image]);
    let name = names.lines().find(|name| name.ends_with("etc/token")).expect("the file is in the image");
    assert_eq!(tool("tar", &["xOf", &image, name]), VALUE);
    assert!(tool("tar", &["tvf", &image, name]).starts_with("-rw------- "));

    // The image has it, and who keeps the image or the tree it was made of; no log, no report, no database.
    for part in [VALUE.as_bytes(), b"horse"] {
        let mut found = holding(&farm.bench.path(""), part);
        let kept = ["farm/blobs/", "/out/edge.tar", "/one-cache/"];
        found.retain(|path| !kept.iter().any(|kept| path.contains(kept)));
        assert_eq!(found, Vec::<String>::new());
    }

    run(&farm, &["secret", "remove", "EDGE_TOKEN"]).well();
    assert_eq!(run(&farm, &["secret", "list", "--json"]).well().stdout.trim(), "[]");
    assert!(
        run(&farm, &["secret", "remove", "EDGE_TOKEN"]).ended(4).stderr.contains("there is no secret `EDGE_TOKEN`")
    );
}

#[test]
fn a_terminal_is_asked_and_shows_nothing() {
    let farm = Farm::start();
    let address = farm.address();
    let typed = |keys: &[u8], code: u8| {
        let how = "\"$0\" secret set EDGE_TOKEN --token-file farm/admin.token";
        Session::start(&farm.bench, how, &[("KILN_SERVER", &address)]).asked("Enter EDGE_TOKEN: ").ends(keys, code)
    };
    let screen = typed(&[b"half of it", &[INTERRUPT][..]].concat(), 130);
    assert!(screen.contains("nothing was set") && !screen.contains("half"), "{screen}");
    assert_eq!(run(&farm, &["secret", "list", "--json"]).well().stdout.trim(), "[]");
    let screen = typed(format!("{VALUE}\n").as_bytes(), 0);
    assert!(screen.starts_with("Enter EDGE_TOKEN: \r\n`default` has a secret `EDGE_TOKEN`\r\n"), "{screen}");
    assert!(!screen.contains("horse"), "{screen}");
    assert_eq!(value(&farm, "EDGE_TOKEN"), VALUE);
}

/// Returns a secret as a node gets it that builds with it.
fn value(farm: &Farm, name: &str) -> String {
    let (node, name) = (farm.enrol("asking"), name.parse::<Variable>().unwrap());
    let (bundle, path) = (Digest::of("bundle"), farm.bench.write("bundle", "bundle"));
    let work = Work::image(bundle, "kiln.toml").with_secrets([name.clone()].into());
    let (project, tasks) = ("default".parse().unwrap(), vec![Order::image(work)]);
    let submission = Submission { project, name: "asking".into(), priority: 0, tasks, once: None };
    let resources = Resources { slots: 1, ..Resources::default() };
    let poll = Poll { resources, holding: vec![], stopping: vec![], free: 1, draining: false, wait: 20_000 };
    farm.runtime.block_on(async {
        farm.client.upload(bundle, &path).await.unwrap();
        farm.client.submit(&submission).await.unwrap();
        let lease = node.poll(&poll).await.unwrap().begin.remove(0);
        node.values(lease.task, lease.epoch).await.unwrap().values.remove(&name).unwrap().0
    })
}
