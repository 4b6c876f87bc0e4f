//! Two nodes with caches of their own: what one has made the other takes from the server.

mod common;

use std::fs;

use common::farm::Farm;
use kiln_farm_api::Kept;
use kiln_model::Digest;
use kiln_testkit::eventually;
use serde_json::Value;

/// Returns the ids of a report's stages of trees, and whether they came from a cache.
fn stages(report: &Value) -> Vec<(String, bool)> {
    let stages = report["stages"].as_array().unwrap().iter();
    let trees = stages.filter(|stage| !["image", "partitions", "sync"].iter().any(|kind| stage["stage"] == *kind));
    trees.map(|stage| (stage["id"].as_str().unwrap().to_owned(), stage["cached"].as_bool().unwrap())).collect()
}

#[test]
fn what_one_node_made_the_other_need_not() {
    let farm = Farm::start();
    let _mirror = farm.recipe();

    let (one, client) = farm.node("one");
    let (bytes, report) = farm.build("first");
    let made = stages(&report);
    assert!(!made.is_empty() && made.iter().all(|(_, cached)| !cached), "{report:#}");
    eventually("the server has all stages", || made.iter().all(|(id, _)| farm.stage(&client, id).stage.is_some()));
    drop(one);

    let (two, client) = farm.node("two");
    let (again, report) = farm.build("second");
    assert!(stages(&report).iter().all(|(_, cached)| *cached), "{report:#}");
    assert_eq!(stages(&report).len(), made.len());
    assert!(again == bytes, "the bytes are others");
    // Bytes of stages are for nodes, also for those that have no task that needs them.
    let kept = farm.stage(&client, &made[0].0).stage.unwrap();
    farm.runtime.block_on(client.download(kept.sha256, &farm.bench.path("layer"))).unwrap();
    drop(two);

    // What is no layer is made once more, and takes its place.
    let (three, liar) = farm.node("three");
    let junk = farm.bench.write("junk", "no layer");
    let lie = Kept { sha256: Digest::of("no layer"), size: 8 };
    farm.runtime.block_on(async {
        liar.drop_stage(made[0].0.parse().unwrap(), &lie).await.unwrap();
        assert_eq!(liar.stage(made[0].0.parse().unwrap()).await.unwrap().stage, Some(kept), "it has other bytes");
        liar.drop_stage(made[0].0.parse().unwrap(), &kept).await.unwrap();
        liar.upload(lie.sha256, &junk).await.unwrap();
        liar.keep_stage(made[0].0.parse().unwrap(), &lie).await.unwrap();
    });
    let (again, report) = farm.build("third");
    assert!(again == bytes, "the bytes are others");
    assert_eq!(stages(&report)[0], (made[0].0.clone(), false), "{report:#}");
    eventually("the server has another", || farm.stage(&liar, &made[0].0).stage.is_some_and(|found| found != lie));
    drop(three);
    let (four, _) = farm.node("four");
    let (again, report) = farm.build("fourth");
    assert!(stages(&report).iter().all(|(_, cached)| *cached), "{report:#}");
    assert!(again == bytes, "the bytes are others");
    drop(four);

    // A server without them costs time and nothing else.
    let said = fs::read_to_string(farm.bench.path("two.log")).unwrap();
    assert!(!said.contains("builds go on without"), "{said}");
}
