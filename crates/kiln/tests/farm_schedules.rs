//! What a schedule of a project submits again: with its lock, and with the packages of the day.

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::farm::Farm;
use common::{Done, json};
use kiln_farm_api::{Build, BuildState, Order, Submission};
use serde_json::Value;

/// Submits that task in a build of its own, and returns it with the version of `tool` that it took.
fn built(farm: &Farm, order: Order) -> (Build, String) {
    let tasks = vec![order];
    let submission =
        Submission { project: "default".parse().unwrap(), name: "edge".into(), priority: 0, tasks, once: None };
    let build = farm.runtime.block_on(farm.client.submit(&submission)).unwrap();
    let build = ended(farm, &build);
    let report = build.artifacts.iter().find(|artifact| artifact.name.ends_with("report.json")).expect("a report");
    let path = farm.bench.path("report.json");
    farm.runtime.block_on(farm.client.artifact(build.id, &report.name, None, &path)).unwrap();
    (build, tool(&json(&path)))
}

fn ended(farm: &Farm, build: &Build) -> Build {
    let began = Instant::now();
    loop {
        let shown = farm.runtime.block_on(farm.client.build(build.id)).unwrap();
        if shown.state.is_final() {
            assert_eq!(shown.state, BuildState::Done, "{shown:?}");
            return shown;
        }
        assert!(began.elapsed() < Duration::from_secs(120), "never done: {shown:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn tool(report: &Value) -> String {
    let packages = report["lock"]["packages"].as_array().unwrap();
    let found = packages.iter().find(|package| package["name"] == "tool").expect("it is in the image");
    found["version"].as_str().unwrap().to_owned()
}

#[test]
fn a_build_again_takes_the_packages_of_its_day_or_those_of_its_lock() {
    let farm = Farm::start();
    let _mirror = farm.recipe();
    let (_node, _) = farm.node("one");
    let mut command = farm.bench.kiln(&["submit", "edge.toml", "--json"]);
    command.env("KILN_SERVER", farm.address()).args(["--token-file", "farm/admin.token"]);
    let said = Done::of(command.output().expect("kiln starts")).well();
    let mut submitted: Build = serde_json::from_str(&said.stdout).expect("a build");
    let order = submitted.tasks.remove(0).order;
    let again = |anew: bool| Order { work: order.work.clone().updated(anew), ..order.clone() };

    farm.publish("1.1-r0");
    assert_eq!(built(&farm, again(false)).1, "1.0-r0", "its lock went along");
    let (newer, version) = built(&farm, again(true));
    assert_eq!(version, "1.1-r0");
    let at = format!("{}/builds/{}/contents/edge.contents.json.zst", farm.address(), newer.id);
    let token = fs::read_to_string(farm.bench.path("farm/admin.token")).unwrap();
    let page = common::tool("curl", &["-sS", "-H", &format!("Authorization: Bearer {}", token.trim()), &at]);
    for line in ["~ tool 1.0-r0 → 1.1-r0", "~ /usr/lib/apk/db/installed: content"] {
        assert!(page.contains(&format!("<code>{line}</code>")), "{line}: {page}");
    }
    assert_eq!(built(&farm, again(false)).1, "1.0-r0");

    // At home it is a word on the command line.
    farm.bench.ok(&["build", "edge.toml", "--out", "out", "--update"]);
    assert!(fs::read_to_string(farm.bench.path("edge.lock")).unwrap().contains("1.1-r0"));
}
