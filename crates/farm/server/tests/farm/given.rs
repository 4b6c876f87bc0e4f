//! Files that one task takes of another: who is told where they are, and what is refused.

use kiln_farm_api::{Complete, Error, Given, Handed, Order, Stored, TaskState, Work};
use kiln_model::{Arch, Digest, FaultKind};
use kiln_testkit::Postgres;

use crate::common::{On, TestFarm};

fn takes(farm: &TestFarm, given: &[(&str, &str, &str)], needs: &[&str]) -> Order {
    let one = |(task, artifact, path): &(&str, &str, &str)| {
        let (task, artifact, path) = (task.parse().unwrap(), (*artifact).to_owned(), (*path).to_owned());
        Given { task, artifact, path }
    };
    let mut order = farm.order("image");
    let Work::Image { given: all, .. } = &mut order.work;
    all.extend(given.iter().map(one));
    Order { needs: needs.iter().map(|need| need.parse().unwrap()).collect(), ..order }
}

/// Returns status, words and hint of a refusal.
fn refused<T: std::fmt::Debug>(answer: Result<T, Error>) -> (u16, String, String) {
    match answer {
        Err(Error::Refused(problem)) => (problem.status, problem.title, problem.hint.unwrap_or_default()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_needed_is_taken_and_only_by_who_runs_it() {
    story(On::Sqlite).await;
    story(On::Postgres(Postgres::start())).await;
}

async fn story(on: On) {
    let mut farm = TestFarm::start(on).await;
    farm.enrol("n", &[Arch::Amd64]).await;
    farm.enrol("other", &[Arch::Amd64]).await;
    let debs = farm.order("debs");
    for (given, needs, wanted) in [
        (
            &[("debs", "a.deb", "debs/a.deb")][..],
            &[][..],
            "`image` takes `a.deb` from `debs`, which is not among what it needs",
        ),
        (&[("debs", "a.deb", "../a.deb")], &["debs"], "`../a.deb` is no path under a folder"),
        (&[("debs", "../a.deb", "a.deb")], &["debs"], "`../a.deb` is no path under a folder"),
        (&[("debs", "a.deb", "a"), ("debs", "b.deb", "a")], &["debs"], "`image` takes two files to `a`"),
    ] {
        let submission = farm.submission("x", vec![debs.clone(), takes(&farm, given, needs)]);
        let (status, title, _) = refused(farm.admin.submit(&submission).await);
        assert_eq!((status, title.as_str()), (400, wanted));
    }

    let image = takes(&farm, &[("debs", "a.deb", "x/debs/a.deb")], &["debs"]);
    let build = farm.admin.submit(&farm.submission("x", vec![image, debs])).await.unwrap();
    // The first run fails, and another try of the build runs both.
    let node = farm.nodes.get_mut("n").unwrap();
    let first = node.poll(1, 0).await.unwrap().begin.remove(0);
    node.end(&first, Some(FaultKind::Package)).await.unwrap();
    node.forget(&first);
    let states: Vec<_> = farm.build(build.id).await.tasks.iter().map(|task| task.state).collect();
    assert_eq!(states, [TaskState::Skipped, TaskState::Failed]);
    farm.admin.retry(build.id).await.unwrap();
    let (bytes, other) = (farm.nodes["n"].upload(b"a package").await, farm.nodes["n"].upload(b"2 package").await);
    let first = farm.nodes.get_mut("n").unwrap().poll(1, 0).await.unwrap().begin.remove(0);
    assert_eq!(first.name.as_str(), "debs", "the image waits");
    let made = |name: &str, sha256: Digest| Stored { name: name.into(), size: 9, sha256, task: None };
    let artifacts = vec![made("a.deb", bytes), made("b.deb", other)];
    let node = farm.nodes.get_mut("n").unwrap();
    node.client.complete(first.task, &Complete { epoch: first.epoch, failure: None, artifacts }).await.unwrap();
    node.forget(&first);
    let lease = node.poll(1, 2000).await.unwrap().begin.remove(0);
    let (n, stranger) = (&farm.nodes["n"].client, &farm.nodes["other"].client);
    let path = farm.folder.path().join("down");
    assert!(n.download(bytes, &path).await.is_err(), "it has not asked yet");
    assert_eq!(refused(stranger.handed(lease.task, lease.epoch).await).0, 409);
    assert_eq!(refused(n.handed(lease.task, lease.epoch + 1).await).0, 409);
    let handed = n.handed(lease.task, lease.epoch).await.unwrap();
    assert_eq!(handed, [Handed { path: "x/debs/a.deb".into(), size: 9, sha256: bytes }]);
    n.download(bytes, &path).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"a package");
    assert!(n.download(other, &path).await.is_err(), "it takes no other");
    assert!(stranger.download(bytes, &path).await.is_err());
    assert_eq!(n.handed(lease.task, lease.epoch).await.unwrap(), handed, "it may ask again");
    farm.nodes["n"].end(&lease, None).await.unwrap();
    let done = farm.build(build.id).await;
    assert!(done.tasks.iter().all(|task| task.state == TaskState::Done), "{done:#?}");

    // What was not made.
    let image = takes(&farm, &[("debs", "c.deb", "c.deb")], &["debs"]);
    farm.admin.submit(&farm.submission("y", vec![farm.order("debs"), image])).await.unwrap();
    let node = farm.nodes.get_mut("n").unwrap();
    node.held.clear();
    let first = node.poll(1, 2000).await.unwrap().begin.remove(0);
    let artifacts = vec![made("a.deb", bytes)];
    node.client.complete(first.task, &Complete { epoch: first.epoch, failure: None, artifacts }).await.unwrap();
    node.forget(&first);
    let lease = node.poll(1, 2000).await.unwrap().begin.remove(0);
    let wanted = (422, "`debs` made no `c.deb`, which the recipe takes from it".to_owned(), "it made a.deb".to_owned());
    assert_eq!(refused(node.client.handed(lease.task, lease.epoch).await), wanted);
}
