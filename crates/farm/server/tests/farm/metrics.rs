//! Metrics: they parse, they move with the farm, and strangers do not see them.

use std::collections::BTreeMap;

use crate::common::{Answer, On, TestFarm};
use kiln_model::Arch;

/// Reads the text strictly: every sample belongs to a family that was announced, its value is a number, the end is said.
fn parsed(text: &str) -> BTreeMap<String, f64> {
    let (mut families, mut samples) = (BTreeMap::new(), BTreeMap::new());
    assert!(text.ends_with("# EOF\n"), "{text}");
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (kind, name, rest) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap_or_default());
            assert!(["HELP", "TYPE", "UNIT"].contains(&kind), "{line}");
            if kind == "TYPE" {
                assert!(["counter", "gauge", "histogram", "info"].contains(&rest), "{line}");
                assert!(families.insert(name.to_owned(), rest.to_owned()).is_none(), "twice: {line}");
            }
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap();
        let plain = name.split('{').next().unwrap();
        assert!(plain.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_'), "{line}");
        let of = |suffix: &str| plain.strip_suffix(suffix).is_some_and(|name| families.contains_key(name));
        let known = families.contains_key(plain);
        assert!(known || ["_total", "_bucket", "_count", "_sum", "_info"].into_iter().any(of), "of no family: {line}");
        assert!(samples.insert(name.to_owned(), value.parse().unwrap()).is_none(), "twice: {line}");
    }
    samples
}

async fn metrics(farm: &TestFarm) -> BTreeMap<String, f64> {
    let answer = farm.get("/metrics", &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    parsed(&answer.body)
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_move_on_sqlite() {
    numbers_move(TestFarm::start(On::Sqlite).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_move_on_postgres() {
    numbers_move(TestFarm::start(On::Postgres(kiln_testkit::Postgres::start())).await).await;
}

async fn numbers_move(mut farm: TestFarm) {
    farm.enrol("n", &[Arch::Amd64]).await;
    let before = metrics(&farm).await;
    assert_eq!(before["kiln_nodes{state=\"new\"}"], 1.0);
    assert_eq!(before["kiln_blobs"], 1.0);
    assert_eq!(before["kiln_blobs_bytes"], 6.0);
    assert_eq!(before["kiln_queue_length"], 0.0);
    assert!(0.0 < before["kiln_disk_free_bytes"] && before["kiln_disk_free_bytes"] <= before["kiln_disk_size_bytes"]);
    farm.submit("one", &["a", "b"]).await;
    farm.turn(5000);
    farm.nodes.get_mut("n").unwrap().poll(1, 2000).await.unwrap();
    let after = metrics(&farm).await;
    assert_eq!(after["kiln_builds{state=\"running\"}"], 1.0);
    assert_eq!(after["kiln_tasks{state=\"running\"}"], 1.0);
    assert_eq!(after["kiln_tasks{state=\"done\"}"], 0.0);
    assert_eq!((after["kiln_queue_length"], after["kiln_queue_oldest_age_seconds"]), (1.0, 5.0));
    assert_eq!((after["kiln_slots"], after["kiln_slots_busy"]), (4.0, 1.0));
    assert_eq!(after["kiln_nodes{state=\"ready\"}"], 1.0);
    let submitted = "kiln_http_requests_total{method=\"POST\",route=\"/api/v1/builds\",status=\"201\"}";
    assert_eq!(after[submitted], 1.0);
    for grown in [
        "kiln_dispatcher_round_duration_seconds_count",
        "kiln_writer_transaction_duration_seconds_sum",
        "kiln_writer_transaction_jobs_sum",
    ] {
        assert!(after[grown] > before[grown], "{grown}");
    }
    assert!(after["process_resident_memory_bytes"] > 1e6);
    assert_eq!(farm.get("/no/such/page", &[]).await.status, 404);
    let none = "kiln_http_requests_total{method=\"GET\",route=\"none\",status=\"404\"}";
    assert_eq!(metrics(&farm).await[none], 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn not_for_strangers() {
    let farm = TestFarm::start(On::any()).await;
    let proxied = ("x-forwarded-for", "192.0.2.1");
    let Answer { status, body } = farm.get("/metrics", &[proxied]).await;
    assert_eq!(status, 401);
    assert!(body.contains("--metrics-open"), "{body}");
    let token = format!("Bearer {}", farm.token);
    assert_eq!(farm.get("/metrics", &[proxied, ("authorization", &token)]).await.status, 200);
}
