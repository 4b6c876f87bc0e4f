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
    let cases: [(&[&str], &str); 6] = [
        (&[], "cannot read `made/agent.bin`"),
        (
            &["--needs", "other=agent.toml", "--needs", "made=agent.toml"],
            "nothing is taken of `other`, which agent.toml makes",
        ),
        (&["--needs", "made=agent.toml", "--needs", "made=agent.toml"], "`--needs` says `made` twice"),
        (&["--needs", "image=agent.toml"], "`image` is what the task of the recipe itself is called"),
        (&["--needs", "made=none.toml"], "none.toml"),
        (&["--needs", "made"], "`made` is not NAME=RECIPE"),
    ];
    recipes(&farm, "true");
    for (words, wanted) in cases {
        let said = submit(&farm, words);
        assert!(said.code.is_some_and(|code| code > 0) && said.stderr.contains(wanted), "{words:?}: {said:?}");
    }
    let recipe = fs::read_to_string(farm.bench.path("edge.toml")).unwrap();
    farm.bench.write("edge.toml", &recipe.replace("agent.bin", "agent.deb"));
    let said = submit(&farm, &["--needs", "made=agent.toml"]).ended(1).stderr;
    assert!(said.contains("`made` makes no `agent.deb`") && said.contains("it makes agent.bin"), "{said}");
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
    let said = submit(&farm, &["--needs", "made=agent.toml", "--wait", "--plain"]).ended(1).stderr;
    assert!(said.contains("no such luck"), "{said}");
    assert!(said.contains("`made`, which it needs, is failed"), "{said}");
    // It has no `agent` to make an artifact of.
    recipes(&farm, "echo x > /var/other\n");
    let said = submit(&farm, &["--needs", "made=agent.toml", "--wait", "--plain"]).ended(1).stderr;
    assert!(said.contains("`/var/agent`, which is to be an artifact, is not in the tree; `/var` has "), "{said}");
}
