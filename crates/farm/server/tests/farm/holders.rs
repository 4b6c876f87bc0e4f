//! Who only knows a digest gets nothing by it.

use kiln_farm_api::{Client, Complete, Error, Kept, Name, NewProject, Role, Scope, Stored, Submission, Upload, Work};
use kiln_model::{Arch, Digest};

use crate::common::asking::Asking;
use crate::common::{On, TestFarm, client, uploaded};

fn named(name: &str) -> Name {
    name.parse().unwrap()
}

/// Somebody with a role in a project.
async fn member(farm: &TestFarm, name: &str, project: &str, role: Role) -> (Client, Asking) {
    farm.farm.make_user(named(name), None, false, "admin").await.unwrap();
    let (user, _) = farm.farm.db.user_named(name).await.unwrap().unwrap();
    farm.farm.join(named(project), user.id, Some(role), "admin").await.unwrap();
    let scopes = [Scope::Read, Scope::Submit];
    let token = farm.farm.make_token(user.id, &user.name, "t".into(), scopes, None).await.unwrap().secret.unwrap();
    (client(farm.address, &token), Asking::new(farm).with(&token))
}

/// A farm with two projects that are not open, and a node.
async fn farm() -> TestFarm {
    let mut farm = TestFarm::start(On::any()).await;
    for name in ["ours", "theirs"] {
        let project = NewProject { name: named(name), open: false, weight: None };
        farm.farm.make_project(project, None, "admin").await.unwrap();
    }
    farm.enrol("n", &[Arch::Amd64]).await;
    farm
}

/// A build of `ours`, made from a bundle.
fn of_ours(farm: &TestFarm, bundle: Digest) -> Submission {
    let mut order = farm.order("image");
    order.work = Work::image(bundle, "kiln.toml");
    Submission { project: named("ours"), ..farm.submission("edge", vec![order]) }
}

fn stored(bytes: &[u8]) -> Stored {
    Stored { name: "edge.raw".into(), size: bytes.len() as u64, sha256: Digest::of(bytes), task: None }
}

fn status<T>(answer: Result<T, Error>) -> Option<u16> {
    answer.err().map(|error| error.status().unwrap())
}

const NOTHING: Upload = Upload { offset: 0, complete: false };

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_alone_opens_nothing() {
    let mut farm = farm().await;
    let (ann, _) = member(&farm, "ann", "ours", Role::Builder).await;
    let (_, looks) = member(&farm, "vic", "ours", Role::Viewer).await;
    let (_, colleague) = member(&farm, "col", "ours", Role::Builder).await;
    let (bob, stranger) = member(&farm, "bob", "theirs", Role::Builder).await;
    let bundle = uploaded(&ann, b"our bundle").await;
    // Before it is submitted it is hers alone; afterwards it is of who may submit it again.
    let whole = Upload { offset: 10, complete: true };
    assert_eq!(colleague.state(bundle).await, NOTHING);
    let build = ann.submit(&of_ours(&farm, bundle)).await.unwrap().id;
    let admin = Asking::new(&farm);
    let cases = [("colleague", &colleague, whole), ("admin", &admin, whole), ("viewer", &looks, NOTHING)];
    for (who, asks, wanted) in cases.into_iter().chain([("stranger", &stranger, NOTHING)]) {
        assert_eq!(asks.state(bundle).await, wanted, "{who}");
    }
    let mut theirs = Submission { project: named("theirs"), ..of_ours(&farm, bundle) };
    let refused = bob.submit(&theirs).await.unwrap_err();
    assert_eq!(refused.status(), Some(409));
    theirs.tasks[0].work = Work::image(Digest::of("nowhere"), "kiln.toml");
    let absent = bob.submit(&theirs).await.unwrap_err().to_string();
    let (known, unknown) = (bundle.to_string(), Digest::of("nowhere").to_string());
    assert_eq!(refused.to_string().replace(&known, &unknown), absent, "it is refused like what is not there");

    // A node that never had it may not say that it made it, unless it works for that project.
    let image = farm.nodes["n"].upload(b"our image").await;
    let node = farm.nodes.get_mut("n").unwrap();
    let lease = node.poll(1, 2000).await.unwrap().begin.remove(0);
    let result = Complete { epoch: lease.epoch, failure: None, artifacts: vec![stored(b"our image")] };
    node.client.complete(lease.task, &result).await.unwrap();
    node.forget(&lease);
    assert_eq!(ann.build(build).await.unwrap().artifacts[0].sha256, image);
    assert_eq!(looks.state(image).await, Upload { offset: 9, complete: true }, "who may download it may name it");
    assert_eq!(stranger.state(image).await, NOTHING);
    farm.enrol("other", &[Arch::Amd64]).await;
    let other = &farm.nodes["other"].client;
    let asks = admin.with(&farm.nodes["other"].credential);
    assert_eq!(asks.state(image).await, NOTHING);
    let kept = Kept { sha256: image, size: 9 };
    assert_eq!(status(other.keep_stage(Digest::of("id"), &kept).await), Some(409));
    assert_eq!(status(other.download(image, &farm.folder.path().join("x")).await), Some(404));
    for (project, wanted) in [("theirs", Some(409)), ("ours", None)] {
        let by = if project == "ours" { &ann } else { &bob };
        let own = uploaded(by, b"their bundle").await;
        let submission = Submission { project: named(project), ..of_ours(&farm, own) };
        by.submit(&submission).await.unwrap();
        let node = farm.nodes.get_mut("other").unwrap();
        let lease = node.poll(1, 2000).await.unwrap().begin.remove(0);
        let result = Complete { epoch: lease.epoch, failure: None, artifacts: vec![stored(b"our image")] };
        assert_eq!(status(node.client.complete(lease.task, &result).await), wanted, "{project}");
        if wanted.is_some() {
            node.end(&lease, None).await.unwrap();
        }
        node.forget(&lease);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_bytes_needs_no_right() {
    let farm = farm().await;
    let (ann, _) = member(&farm, "ann", "ours", Role::Builder).await;
    let (bob, asks) = member(&farm, "bob", "theirs", Role::Builder).await;
    let bytes = b"a bundle that both have";
    let bundle = uploaded(&ann, bytes).await;
    // Each has an upload of his own: what one has sent of it is nothing to the other, and cannot be spoiled by him.
    let begun = asks.append(bundle, 0, bytes.len(), &bytes[..5]).await.json::<Upload>().await.unwrap();
    assert_eq!(begun, Upload { offset: 5, complete: false });
    let (_, third) = member(&farm, "eve", "theirs", Role::Builder).await;
    assert_eq!(third.state(bundle).await, NOTHING);
    let wrong = third.append(bundle, 0, bytes.len(), &[b'x'; 23]).await;
    assert_eq!(wrong.status().as_u16(), 422);
    assert_eq!(asks.state(bundle).await, begun);
    assert_eq!(uploaded(&bob, bytes).await, bundle);
    let submission = Submission { project: named("theirs"), ..of_ours(&farm, bundle) };
    bob.submit(&submission).await.unwrap();
    assert_eq!(farm.blob(bundle).await.unwrap(), bytes);
    assert_eq!(std::fs::read_dir(farm.folder.path().join("farm/uploads")).unwrap().count(), 0);
    // He is told that it is here from now on, as long as it is.
    assert!(asks.state(bundle).await.complete);
}
