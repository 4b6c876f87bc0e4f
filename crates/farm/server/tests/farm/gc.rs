//! What is kept and what goes, on both databases, also while others upload and submit.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::common::{On, TestFarm, uploaded};
use kiln_farm_api::retention::{Retention, Swept, SweptProject};
use kiln_farm_api::{Error, Kept, Name, Order, StageFound};
use kiln_farm_server::backup::hold;
use kiln_farm_server::decide::retain::DAY;
use kiln_model::{Arch, Digest};
use kiln_testkit::S3;
use rustix::fs::FlockOperation;

#[tokio::test(flavor = "multi_thread")]
async fn rules_on_sqlite() {
    rules(TestFarm::start(On::Sqlite).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_on_postgres() {
    rules(TestFarm::start(On::Postgres(kiln_testkit::Postgres::start())).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_in_a_bucket() {
    let s3 = S3::start();
    rules(TestFarm::in_bucket(On::any(), &s3).await).await;
    // What the last gc left: the owner's name, the bundle, and the file of the newest build.
    assert_eq!(s3.objects().len(), 3, "{:?}", s3.objects());
}

async fn rules(mut farm: TestFarm) {
    farm.enrol("n", &[Arch::Amd64]).await;
    let release = farm.done("release", b"release").await;
    let old = farm.done("old", b"old and kept").await;
    let older = farm.done("older", b"older").await;
    let last = farm.done("last", b"old and kept").await;
    let nowhere = Order { arch: Some(Arch::Riscv64), ..farm.order("image") };
    let waiting = farm.admin.submit(&farm.submission("waiting", vec![nowhere])).await.unwrap().id;
    farm.upload(b"for nobody").await;
    farm.admin.pin(release, true).await.unwrap();
    assert!(farm.build(release).await.pinned);
    assert!(farm.page(&format!("/builds/{release}")).await.contains("Unpin"));
    assert!(farm.page(&format!("/builds/{old}")).await.contains("Keep it"));
    assert!(farm.page("/projects").await.contains("everything"));
    assert_eq!(farm.admin.gc(false).await.unwrap(), Swept::default(), "all is kept, and what is unused is young");

    farm.turn(2 * DAY);
    let project: Name = "default".parse().unwrap();
    let rules = Retention { builds: Some(1), ..Retention::default() };
    assert_eq!(farm.admin.set_retention(&project, &rules).await.unwrap().retention, rules);
    assert!(farm.page("/projects").await.contains("done ones the last 1"));
    let lost = SweptProject { project: project.clone(), builds: 2, bytes: 5 };
    let wanted = Swept { dry_run: true, projects: vec![lost], unused: 1, unused_bytes: 10, ..Swept::default() };
    assert_eq!(farm.admin.gc(true).await.unwrap(), wanted);
    assert_eq!(farm.admin.gc(true).await.unwrap(), wanted, "it touched nothing");
    assert_eq!(farm.admin.gc(false).await.unwrap(), Swept { dry_run: false, ..wanted });
    assert_eq!(farm.admin.gc(false).await.unwrap(), Swept::default(), "nothing is left to do");

    for gone in [old, older] {
        assert_eq!(farm.admin.build(gone).await.unwrap_err().status(), Some(404));
    }
    for (build, bytes) in [(release, b"release".as_slice()), (last, b"old and kept")] {
        assert_eq!(farm.build(build).await.artifacts[0].sha256, Digest::of(bytes));
        assert_eq!(farm.artifact(build).await, bytes);
    }
    for (bytes, kept) in [("older", false), ("for nobody", false), ("bundle", true)] {
        let digest = Digest::of(bytes);
        assert_eq!(farm.blob(digest).await, kept.then(|| bytes.into()));
        assert!(kept || !farm.farm.blobs.folder.path(digest).exists());
    }
    assert_eq!(farm.build(waiting).await.tasks.len(), 1);

    // It is a release no longer, and the last one has been followed by another.
    farm.admin.pin(release, false).await.unwrap();
    farm.done("newer", b"newer").await;
    let swept = farm.admin.gc(false).await.unwrap();
    assert_eq!((swept.projects[0].builds, swept.projects[0].bytes), (2, 7 + 12));
    assert_eq!(farm.build(waiting).await.tasks.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_promised_stays_on_sqlite() {
    what_is_promised_stays(TestFarm::start(On::Sqlite).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_promised_stays_on_postgres() {
    what_is_promised_stays(TestFarm::start(On::Postgres(kiln_testkit::Postgres::start())).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_promised_stays_in_a_bucket() {
    let s3 = S3::start();
    what_is_promised_stays(TestFarm::in_bucket(On::any(), &s3).await).await;
}

/// Blobs that nobody needs are asked for in the very moment in which the gc takes them away.
async fn what_is_promised_stays(farm: TestFarm) {
    let mut survived = 0;
    for round in 0..24_u8 {
        let bytes = [round; 40];
        let digest = farm.upload(&bytes).await;
        farm.turn(2 * DAY);
        let mut submission = farm.submission("race", vec![farm.order("image")]);
        let kiln_farm_api::Work::Image { bundle, .. } = &mut submission.tasks[0].work;
        *bundle = digest;
        let path = farm.folder.path().join("race");
        fs::write(&path, bytes).unwrap();
        let (client, wait) = (farm.admin.clone(), Duration::from_micros(u64::from(round) * 500));
        let submitted = async {
            tokio::time::sleep(wait).await;
            client.upload(digest, &path).await.unwrap();
            client.submit(&submission).await.unwrap()
        };
        let (swept, build) = tokio::join!(farm.admin.gc(false), submitted);
        survived += u32::from(swept.unwrap().unused == 0);
        assert_eq!(farm.blob(digest).await.unwrap(), bytes, "round {round}");
        let swept = farm.admin.gc(true).await.unwrap();
        assert_eq!(swept, Swept { dry_run: true, ..Swept::default() }, "round {round}");
        assert_eq!(build.tasks.len(), 1);
    }
    println!("{survived} of 24 were asked for before the gc came to them");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_is_found_later() {
    let farm = TestFarm::start(On::any()).await;
    let data = farm.folder.path().join("farm");
    let young = Digest::of("young");
    let old = Digest::of("old");
    for digest in [young, old] {
        let path = farm.farm.blobs.folder.path(digest);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "bytes").unwrap();
    }
    let begun = data.join("uploads").join(Digest::of("begun").to_string());
    let going_on = data.join("uploads").join(Digest::of("going on").to_string());
    fs::write(&begun, "beg").unwrap();
    fs::write(&going_on, "going").unwrap();
    age(&farm.farm.blobs.folder.path(old));
    age(&begun);
    let wanted = Swept { unused: 2, unused_bytes: 8, ..Swept::default() };
    assert_eq!(farm.admin.gc(true).await.unwrap(), Swept { dry_run: true, ..wanted.clone() });
    assert_eq!(farm.admin.gc(false).await.unwrap(), wanted);
    assert!(farm.farm.blobs.folder.path(young).exists() && !farm.farm.blobs.folder.path(old).exists());
    assert!(going_on.exists() && !begun.exists());
}

fn age(path: &Path) {
    let then = SystemTime::now() - Duration::from_secs(25 * 3600);
    File::options().append(true).open(path).unwrap().set_modified(then).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn not_while_a_backup_runs_and_not_for_everybody() {
    let farm = TestFarm::start(On::any()).await;
    let held = hold(&farm.folder.path().join("farm"), FlockOperation::LockShared).unwrap();
    let refused = farm.admin.gc(false).await.unwrap_err();
    assert_eq!(refused.status(), Some(409), "{refused}");
    drop(held);
    farm.admin.gc(false).await.unwrap();
    let stranger = crate::common::client(farm.address, "kiln_nothing");
    assert!(matches!(stranger.gc(true).await, Err(Error::Refused(problem)) if problem.status == 401));
}

#[tokio::test(flavor = "multi_thread")]
async fn stages_on_sqlite() {
    stages(TestFarm::configured(On::any(), |config| config.stages_limit = 14).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stages_on_postgres() {
    let postgres = On::Postgres(kiln_testkit::Postgres::start());
    stages(TestFarm::configured(postgres, |config| config.stages_limit = 14).await).await;
}

/// Of stages that nodes share those used longest ago go.
async fn stages(mut farm: TestFarm) {
    farm.enrol("n", &[Arch::Amd64]).await;
    farm.enrol("m", &[Arch::Amd64]).await;
    let node = |farm: &TestFarm, name: &str| farm.nodes[name].client.clone();
    let (one, other, to) = (node(&farm, "n"), node(&farm, "m"), farm.folder.path().join("to"));
    let ids = ["first", "second"].map(Digest::of);
    let none = StageFound { stage: None, wanted: true };
    assert_eq!(one.stage(ids[0]).await.unwrap(), none);
    let kept = |bytes: &[u8]| Kept { sha256: Digest::of(bytes), size: bytes.len() as u64 };
    assert_eq!(one.keep_stage(ids[0], &kept(b"one stage")).await.unwrap_err().status(), Some(409), "blobs first");
    assert_eq!(farm.admin.keep_stage(ids[0], &kept(b"one stage")).await.unwrap_err().status(), Some(401));
    for (id, bytes) in [(ids[0], b"one stage".as_slice()), (ids[1], b"another")] {
        uploaded(&one, bytes).await;
        one.keep_stage(id, &kept(bytes)).await.unwrap();
        farm.turn(1000);
    }
    // More than a quarter beyond the limit is taken when the gc has been.
    uploaded(&one, b"third").await;
    let full = one.keep_stage(Digest::of("third"), &kept(b"third")).await.unwrap_err();
    assert_eq!(full.status(), Some(507), "{full}");
    // A second word on a stage changes nothing.
    uploaded(&other, b"lie").await;
    other.keep_stage(ids[0], &kept(b"lie")).await.unwrap();
    farm.turn(2 * DAY);
    assert_eq!(other.stage(ids[0]).await.unwrap().stage, Some(kept(b"one stage")));
    other.download(kept(b"one stage").sha256, &to).await.unwrap();
    assert_eq!(fs::read(&to).unwrap(), b"one stage");
    assert_eq!(other.download(farm.bundle, &to).await.unwrap_err().status(), Some(404), "other blobs are not for it");

    let wanted = Swept { unused: 3, unused_bytes: 3 + 6 + 5, stages: 1, stages_bytes: 7, ..Swept::default() };
    assert_eq!(farm.admin.gc(true).await.unwrap(), Swept { dry_run: true, ..wanted.clone() });
    assert_eq!(farm.admin.gc(false).await.unwrap(), wanted);
    assert_eq!(farm.admin.gc(false).await.unwrap(), Swept::default(), "the rest fits");
    assert_eq!(one.stage(ids[1]).await.unwrap(), none);
    other.download(kept(b"one stage").sha256, &to).await.unwrap();
}
