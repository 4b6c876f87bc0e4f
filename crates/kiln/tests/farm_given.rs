//! Tasks that take what other tasks of the build made: a package first, then the image that has it.

mod common;

use std::fs;
use std::path::Path;

use common::farm::Farm;
use common::{Done, tool};
use kiln_farm_api::Build;

/// Writes `edge.toml` and `agent.toml`: the first has a file that the second one's script makes.
fn recipes(farm: &Farm, script: &str) {
    let base = fs::read_to_string(farm.bench.path("edge.toml")).unwrap();
    let base =
        base.split("\n[[file]]").next().unwrap().replace("include = [\"tool\"]", "include = [\"tool\", \"shell\"]");
    let agent = base.replace("name = \"edge\"", "name = \"agent\"");
    let script = format!("[[script]]\nafter = \"packages\"\ntext = '''{script}'''\n");
    let output = "[[output]]\nformat = \"file\"\npath = \"/var/agent\"\nending = \"bin\"\n";
    farm.bench.write("agent.toml", &format!("{agent}\n{script}\n{output}"));
    let file = "[[file]]\npath = \"/etc/agent\"\nsource = \"made/agent.bin\"\n";
    farm.bench.write("edge.toml", &format!("{base}\n{file}\n[[output]]\nformat = \"tar\"\n"));
}

fn submit(farm: &Farm, words: &[&str]) -> Done {
    let words = [&["submit", "edge.toml", "--token-file", "farm/admin.token"], words].concat();
    let mut command = farm.bench.kiln(&words);
    Done::of(command.env("KILN_SERVER", farm.address()).output().expect("kiln starts"))
}

fn member(tar: &Path) -> String {
    tool("tar", &["-xOf", &tar.display().to_string(), "./etc/agent"])
}

#[test]
fn an_image_has_what_the_task_before_it_made() {
    let farm = Farm::start();
    let _mirror = farm.recipe();
    let _node = farm.node("one");
    recipes(&farm, "echo made > /var/agent\n");
    submit(&farm, &["--needs", "made=agent.toml", "--wait", "--out", "got"]).well();
    let at = |path: &str| farm.bench.path(path);
    assert_eq!(fs::read_to_string(at("got/made/agent.bin")).unwrap(), "made\n");
    assert_eq!(member(&at("got/image/edge.tar")), "made\n");
    assert!(!at("got/made/agent.contents.json.zst").exists(), "a file is no image");

    // At home the same recipes make the same bytes.
    farm.bench.ok(&["build", "agent.toml", "--out", "made"]);
    farm.bench.ok(&["build", "edge.toml", "--out", "home"]);
    assert!(fs::read(at("home/edge.tar")).unwrap() == fs::read(at("got/image/edge.tar")).unwrap());
    // What lies there already does not count.
    farm.bench.write("made/agent.bin", "of old");
    let said = submit(&farm, &["--needs", "made=agent.toml", "--wait", "--out", "again", "--json"]).well();
    assert_eq!(member(&at("again/image/edge.tar")), "made\n");
    let build: Build = serde_json::from_str(&said.stdout).unwrap();
    let tasks: Vec<_> = build.tasks.iter().map(|task| (task.order.name.as_str(), task.order.needs.len())).collect();
    assert_eq!(tasks, [("made", 0), ("image", 1)]);
}

#[test]
fn what_cannot_be_is_told_before_anything_is_sent() {
    let farm = Farm::start();
    let _mirror = farm.recipe();
    let cases: [(&[&str], i32, &str); 7] = [
        (&[], 1, "cannot read `made/agent.bin`"),
        (
            &["--needs", "other=agent.toml", "--needs", "made=agent.toml"],
            1,
            "nothing is taken of `other`, which `agent.toml` makes",
        ),
        (&["--needs", "made=agent.toml", "--needs", "made=agent.toml"], 2, "`--needs` says `made` twice"),
        (&["--needs", "image=agent.toml"], 2, "`image` is what the task of the recipe itself is called"),
        (&["--needs", "made=none.toml"], 1, "none.toml"),
        (&["--needs", "made"], 2, "`made` is not NAME=RECIPE"),
        (&["--needs", "made=edge.toml"], 1, "`made` makes no file `agent.bin`"),
    ];
    recipes(&farm, "true");
    for (words, code, wanted) in cases {
        let said = submit(&farm, words).ended(code).stderr;
        assert!(said.contains(wanted), "{words:?}: {said}");
    }
    // Whatever lies there from last time, what is to come cannot be looked into, and is no folder yet.
    let recipe = fs::read_to_string(farm.bench.path("edge.toml")).unwrap();
    farm.bench.write("made/agent.bin", "of old");
    let absolute = farm.bench.path("made/agent.bin").display().to_string();
    let unread = "it is made by a task that comes first";
    let user = "[[user]]\nname = \"admin\"\nssh-keys = { file = \"made/agent.bin\" }\n";
    for (recipe, wanted) in [
        (recipe.replace("agent.bin", "agent.deb"), "`made` makes no file `agent.deb`"),
        (recipe.replace("format = \"tar\"", "format = \"dir\""), "a farm keeps files, and output `edge` is a folder"),
        (recipe.replace("made/agent.bin", "made"), unread),
        (recipe.replace("made/agent.bin", "."), unread),
        (recipe.replace("made/agent.bin", &absolute), "its path is absolute"),
        (format!("{recipe}\n{user}"), unread),
    ] {
        farm.bench.write("edge.toml", &recipe);
        let said = submit(&farm, &["--needs", "made=agent.toml"]).ended(1).stderr;
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    // Two that wait for each other.
    farm.bench.write("edge.toml", &recipe);
    let agent = fs::read_to_string(farm.bench.path("agent.toml")).unwrap();
    let file = |path: &str| format!("\n[[file]]\npath = \"/etc/x\"\nsource = \"{path}\"\n");
    farm.bench.write("agent.toml", &(agent.clone() + &file("two/agent.bin")));
    farm.bench.write("two.toml", &(agent + &file("made/agent.bin")));
    let said = submit(&farm, &["--needs", "made=agent.toml", "--needs", "two=two.toml"]).ended(1).stderr;
    assert!(said.contains("need each other in a circle"), "{said}");
    let blobs = fs::read_dir(farm.bench.path("farm/blobs")).map_or(0, Iterator::count);
    assert_eq!(blobs, 0, "nothing was sent");
    let bearer =
        format!("authorization: bearer {}", fs::read_to_string(farm.bench.path("farm/admin.token")).unwrap().trim());
    let builds = tool("curl", &["-fsS", "-H", &bearer, &format!("{}/api/v1/builds", farm.address())]);
    assert!(builds.contains("\"builds\":[]"), "{builds}");
}

#[test]
fn where_the_first_fails_the_second_is_not_begun() {
    let farm = Farm::start();
    let _mirror = farm.recipe();
    let _node = farm.node("one");
    recipes(&farm, "echo no such luck >&2\nfalse\n");
    let words = ["--needs", "made=agent.toml", "--wait", "--events", "json:events"];
    let said = submit(&farm, &words).ended(1).stderr;
    assert!(said.contains("no such luck"), "{said}");
    let lines = ["\nmade: [", "\nimage: [", "\nedge: ["];
    assert!(lines.iter().all(|beginning| said.contains(beginning)), "every line says whose it is: {said}");
    assert!(said.contains("`made`, which it needs, is failed"), "{said}");
    let last = said.lines().rfind(|line| line.starts_with("error: ")).unwrap();
    assert!(last.contains("script 1"), "what failed is told, not what was skipped: {last}");
    let events = fs::read_to_string(farm.bench.path("events")).unwrap();
    let told = ["no such luck", "\"failed\"", "image skipped"];
    assert!(told.iter().all(|wanted| events.contains(wanted)), "all of it in one stream: {events}");
    // It has no `agent` to make an artifact of.
    recipes(&farm, "echo x > /var/other\n");
    let said = submit(&farm, &["--needs", "made=agent.toml", "--wait", "--plain"]).ended(1).stderr;
    assert!(said.contains("`/var/agent`, which is to be an artifact, is not in the tree; `/var` has "), "{said}");
}
