//! Nodes that are killed at every point where it hurts, builds of kiln's under them: each task is done once, and nothing of theirs is left.
//!
//! CI kills one at each point; `KILN_KILLS=100 cargo test --test farm_nodes` does so as often as asked.

mod common;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use common::farm::Farm;
use kiln_farm_api::points::Point;
use kiln_farm_api::{BuildId, BuildState, FarmEvent, Submission, TaskState, What};
use kiln_model::Digest;
use kiln_testkit::eventually;

#[test]
fn nothing_is_lost_where_nodes_die() {
    let kills = std::env::var("KILN_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let farm = Farm::start();
    let _mirror = farm.recipe();
    farm.enrol("one");
    let mut command = farm.bench.kiln(&["submit", "edge.toml"]);
    command.env("KILN_SERVER", farm.address()).args(["--token-file", "farm/admin.token"]);
    let said = common::Done::of(command.output().unwrap()).well();
    let first = said.stdout.split("/builds/").nth(1).and_then(|rest| rest.get(..36)).expect("an address");
    let mut builds: Vec<BuildId> = vec![first.parse().unwrap()];
    let mut order = farm.runtime.block_on(farm.client.build(builds[0])).unwrap().tasks.remove(0).order;
    // However often its node is lost.
    order.attempts = Some(10_000);

    let mut trapped = 0;
    for round in 0..kills {
        for point in Point::OF_NODES {
            for number in 0..2 {
                let name = format!("{}-{round}-{number}", point.name());
                let tasks = vec![order.clone()];
                let submission =
                    Submission { project: "default".parse().unwrap(), name, priority: 0, tasks, once: None };
                builds.push(farm.runtime.block_on(farm.client.submit(&submission)).unwrap().id);
            }
            // What is in the cache begins no stage.
            let _ = fs::remove_dir_all(farm.bench.path("one-cache"));
            let trap = format!("{}:1", point.name());
            let mut node = farm.run_node("one", &[("KILN_KILL_AT", &trap)]);
            let began = Instant::now();
            while node.0.try_wait().unwrap().is_none() && began.elapsed() < Duration::from_secs(60) {
                std::thread::sleep(Duration::from_millis(20));
            }
            trapped += u32::from(node.0.try_wait().unwrap().is_some());
            eventually("its build is gone too", || processes(&farm.bench.path("one")).is_empty());
        }
    }
    assert_eq!(trapped, Point::OF_NODES.len() as u32 * kills, "each kill came");
    // The first build has the usual number of attempts, and may be parked: it is asked for again.
    let first = builds[0];
    if farm.runtime.block_on(farm.client.build(first)).unwrap().state.is_final() {
        let _ = farm.runtime.block_on(farm.client.retry(first));
    }
    let last = farm.run_node("one", &[]);
    for build in &builds {
        farm.runtime.block_on(sound(&farm, *build));
    }
    drop(last);
    let left = |folder: &str| fs::read_dir(farm.bench.path(folder)).map_or(0, Iterator::count);
    assert_eq!((left("one/work"), left("one/outbox")), (0, 0));
    println!("killed {trapped} times, {} builds are done", builds.len());
}

/// Returns the processes that are told of something in a folder.
fn processes(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let told = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let told = told.map(|words| String::from_utf8_lossy(&words).replace('\0', " "));
    told.filter(|words| words.contains(&format!("{}/", folder.display()))).collect()
}

/// Waits for a build, and checks that it was done once and holds what it should.
async fn sound(farm: &Farm, build: BuildId) {
    let began = Instant::now();
    let shown = loop {
        let shown = farm.client.build(build).await.unwrap();
        if shown.state.is_final() {
            break shown;
        }
        assert!(began.elapsed() < Duration::from_secs(120), "never done: {shown:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(shown.state, BuildState::Done, "{shown:?}");
    let mut entries = vec![];
    loop {
        let page = farm.client.events(build, entries.len() as u64, &[]).await.unwrap();
        entries.extend(page.entries);
        if entries.len() as u64 >= page.last {
            break;
        }
    }
    assert!(entries.iter().zip(1..).all(|(entry, seq)| entry.seq == seq), "a gap in the log of {}", shown.name);
    let done = |what: &What| matches!(what, What::Farm(FarmEvent::TaskEnded { state: TaskState::Done, .. }));
    assert_eq!(entries.iter().filter(|entry| done(&entry.what)).count(), 1, "{} ended once", shown.name);
    assert!(shown.artifacts.iter().any(|artifact| artifact.name == "edge.tar"), "{shown:?}");
    for artifact in &shown.artifacts {
        let path = farm.bench.path("check");
        farm.client.artifact(build, &artifact.name, artifact.task, &path).await.unwrap();
        assert_eq!(Digest::of(fs::read(&path).unwrap()), artifact.sha256);
    }
}
