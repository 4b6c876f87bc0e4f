//! What a schedule of a project submits again: with its lock, and with the packages of the day.

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::farm::Farm;
use common::{Done, json};
use kiln_farm_api::{Build, BuildState, Order, Submission};
use serde_json::Value;

/// Submits that task in a build of its own, and returns the version of `tool` that it took.
fn version(farm: &Farm, order: Order) -> String {
    let tasks = vec![order];
    let submission =
        Submission { project: "default".parse().unwrap(), name: "edge".into(), priority: 0, tasks, once: None };
    let build = farm.runtime.block_on(farm.client.submit(&submission)).unwrap();
    let build = ended(farm, &build);
    let report = build.artifacts.iter().find(|artifact| artifact.name.ends_with("report.json")).expect("a report");
    let path = farm.bench.path("report.json");
    farm.runtime.block_on(farm.client.artifact(build.id, &report.name, None, &path)).unwrap();
    tool(&json(&path))
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
    assert_eq!(version(&farm, again(false)), "1.0-r0", "its lock went along");
    assert_eq!(version(&farm, again(true)), "1.1-r0");
    assert_eq!(version(&farm, again(false)), "1.0-r0");

    // At home it is a word on the command line.
    farm.bench.ok(&["build", "edge.toml", "--out", "out", "--update"]);
    assert!(fs::read_to_string(farm.bench.path("edge.lock")).unwrap().contains("1.1-r0"));
}
