//! Builds that are submitted again at times: by a clock turned by hand, once whoever looks, for whom they belong to, and for as long as
//! there is a schedule.

use std::time::Duration;

use crate::common::asking::{Asking, Browser};
use crate::common::{BEGINNING, On, TestFarm, client};
use kiln_farm_api::access::Member;
use kiln_farm_api::schedule::{NewRepeat, Repeat};
use kiln_farm_api::{
    BuildId, BuildState, Complete, Error, Given, Name, NewUser, Order, Retention, Role, Scope, Stored, Variable, Work,
};
use kiln_farm_server::decide::retain::DAY;
use kiln_model::{Arch, Digest};
use kiln_testkit::Postgres;
use reqwest::Method;

const HOUR: i64 = 3_600_000;

fn project() -> Name {
    "default".parse().unwrap()
}

fn nightly(name: &str) -> NewRepeat {
    NewRepeat { name: name.into(), keep_lock: false, cron: "30 4 * * *".into(), zone: "UTC".into() }
}

async fn one(farm: &TestFarm) -> Repeat {
    farm.admin.repeats(&project()).await.unwrap().swap_remove(0)
}

/// Waits until the first schedule's time came after that moment, and returns it.
async fn came(farm: &TestFarm, after: i64) -> Repeat {
    for _ in 0..400 {
        let repeat = one(farm).await;
        if repeat.last.is_some_and(|last| last > after) {
            return repeat;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{:?}", farm.admin.repeats(&project()).await)
}

/// Long enough for whoever looks to have looked.
async fn a_while() {
    tokio::time::sleep(Duration::from_millis(1200)).await;
}

/// Returns the ids of all builds called so, the newest first.
async fn called(farm: &TestFarm, name: &str) -> Vec<BuildId> {
    let listed = Asking::new(farm).get(&format!("/api/v1/builds?q={name}")).await;
    let builds: kiln_farm_api::Builds = listed.json().await.unwrap();
    builds.builds.into_iter().map(|build| build.id).collect()
}

fn refusal<T: std::fmt::Debug>(answer: Result<T, Error>) -> (u16, String) {
    match answer {
        Err(Error::Refused(problem)) => (problem.status, problem.title),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_submitted_when_its_time_comes_on_sqlite() {
    it_is_submitted_when_its_time_comes(On::Sqlite, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_servers_submits_on_postgres() {
    let postgres = Postgres::start();
    let url = postgres.url();
    it_is_submitted_when_its_time_comes(On::Postgres(postgres), Some(url)).await;
}

async fn it_is_submitted_when_its_time_comes(on: On, second: Option<String>) {
    let mut farm = TestFarm::start(on).await;
    if let Some(url) = second {
        farm.second(&url).await;
    }
    farm.enrol("n", &[Arch::Amd64]).await;
    let older = farm.done("edge", b"older").await;
    let bundle = farm.upload(b"another bundle").await;
    let work = Work::image(bundle, "images/edge.toml");
    let order = Order { arch: Some(Arch::Amd64), timeout: Some(600), ..Order::new("image".parse().unwrap(), work) };
    let mut submission = farm.submission("edge", vec![order.clone()]);
    submission.priority = 7;
    let newest = farm.admin.submit(&submission).await.unwrap();
    farm.submit("edge-2", &["image"]).await;

    let first = farm.admin.make_repeat(&project(), &nightly("edge")).await.unwrap();
    let due = BEGINNING + 4 * HOUR + HOUR / 2;
    assert_eq!((first.next, first.last, first.enabled, first.owner.as_str()), (Some(due), None, true, "admin"));
    a_while().await;
    assert_eq!(called(&farm, "edge").await.len(), 3);

    // The newest of the name, with all that was said of it, but with the packages of the day.
    farm.turn(5 * HOUR);
    let repeat = came(&farm, BEGINNING).await;
    assert_eq!((repeat.next, repeat.error.as_deref()), (Some(due + DAY), None));
    let build = farm.build(repeat.build.unwrap()).await;
    assert_eq!((build.name.as_str(), build.by.as_str(), build.priority), ("edge", "admin", 0));
    let task = &build.tasks[0].order;
    assert_eq!(task.work, order.work.clone().updated(true));
    assert_eq!((task.arch, task.timeout, &task.name), (order.arch, order.timeout, &order.name));
    assert_ne!(build.id, newest.id);
    // A node is told so.
    farm.admin.cancel(newest.id).await.unwrap();
    let node = farm.nodes.get_mut("n").unwrap();
    let leases = node.poll(4, 2000).await.unwrap().begin;
    assert!(leases.iter().any(|lease| lease.build == build.id && lease.work == task.work), "{leases:?}");

    // As long as that one has not ended there is no other.
    farm.turn(DAY);
    let waits = came(&farm, BEGINNING + 5 * HOUR).await;
    assert!(waits.error.unwrap().contains("has not ended yet"));
    assert_eq!((waits.build, called(&farm, "edge").await.len()), (Some(build.id), 4));
    farm.admin.cancel(build.id).await.unwrap();

    // What was missed for days is submitted once.
    farm.turn(9 * DAY);
    let repeat = came(&farm, BEGINNING + 5 * HOUR + DAY).await;
    a_while().await;
    assert_eq!(called(&farm, "edge").await.len(), 5);
    assert_eq!(one(&farm).await, repeat);

    // Who rests misses its times, and does not make up for them.
    farm.admin.enable_repeat(&project(), first.id, false).await.unwrap();
    assert_eq!(one(&farm).await.next, None);
    farm.turn(3 * DAY);
    a_while().await;
    farm.admin.enable_repeat(&project(), first.id, true).await.unwrap();
    assert_eq!(one(&farm).await.next, Some(due + 14 * DAY));
    a_while().await;
    assert_eq!(called(&farm, "edge").await.len(), 5);
    let page = farm.page("/projects/default").await;
    for said in ["30 4 * * *", "2026-01-15 04:30:00", "Disable", "of the day", &repeat.build.unwrap().to_string()] {
        assert!(page.contains(said), "{said}: {page}");
    }

    farm.admin.cancel(repeat.build.unwrap()).await.unwrap();

    // With its lock; of a name that ends otherwise nothing is taken.
    farm.admin.drop_repeat(&project(), first.id).await.unwrap();
    let kept = NewRepeat { keep_lock: true, ..nightly("edge") };
    farm.admin.make_repeat(&project(), &kept).await.unwrap();
    let before = farm.farm.now();
    farm.turn(DAY);
    let build = farm.build(came(&farm, before).await.build.unwrap()).await;
    assert_eq!(build.tasks[0].order.work, order.work);
    assert!(farm.page("/projects/default").await.contains("of its lock"));
    assert_eq!(farm.build(older).await.state, BuildState::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_needed_stays_on_sqlite() {
    what_is_needed_stays(On::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_needed_stays_on_postgres() {
    what_is_needed_stays(On::Postgres(Postgres::start())).await;
}

/// The rules let go what the schedule submits, but for the schedule.
async fn what_is_needed_stays(on: On) {
    let mut farm = TestFarm::start(on).await;
    farm.enrol("n", &[Arch::Amd64]).await;
    let old = farm.done("edge", b"old").await;
    // What became of it does not matter.
    let bundle = farm.upload(b"its own bundle").await;
    let order = Order::new("image".parse().unwrap(), Work::image(bundle, "kiln.toml"));
    let newest = farm.admin.submit(&farm.submission("edge", vec![order])).await.unwrap().id;
    farm.admin.cancel(newest).await.unwrap();
    let yearly = NewRepeat { cron: "0 0 1 12 *".into(), ..nightly("edge") };
    let repeat = farm.admin.make_repeat(&project(), &yearly).await.unwrap();
    for name in ["other", "another"] {
        farm.turn(HOUR);
        farm.done(name, name.as_bytes()).await;
    }
    farm.turn(2 * DAY);
    let rules = Retention { builds: Some(1), failed_days: Some(1), ..Retention::default() };
    farm.admin.set_retention(&project(), &rules).await.unwrap();
    assert_eq!(farm.admin.gc(true).await.unwrap().projects[0].builds, 2);
    assert_eq!(farm.admin.gc(false).await.unwrap().projects[0].builds, 2);
    assert_eq!(farm.admin.build(old).await.unwrap_err().status(), Some(404));
    assert_eq!(farm.build(newest).await.state, BuildState::Cancelled);
    assert!(farm.blob(bundle).await.is_some());

    // Without a schedule it goes as others do.
    farm.admin.drop_repeat(&project(), repeat.id).await.unwrap();
    assert_eq!(farm.admin.gc(false).await.unwrap().projects[0].builds, 1);
    assert_eq!(farm.admin.build(newest).await.unwrap_err().status(), Some(404));
    assert!(farm.blob(bundle).await.is_none());
    let refused = refusal(farm.admin.make_repeat(&project(), &yearly).await);
    assert_eq!(refused, (409, "`default` has no build called `edge`".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_takes_the_packages_of_its_own_build() {
    let mut farm = TestFarm::start(On::any()).await;
    farm.enrol("n", &[Arch::Amd64]).await;
    let taken = Given { task: "debs".parse().unwrap(), artifact: "a.deb".into(), path: "debs/a.deb".into() };
    let mut image = Order { needs: ["debs".parse().unwrap()].into(), ..farm.order("image") };
    let Work::Image { given, .. } = &mut image.work;
    given.push(taken);
    let first = farm.admin.submit(&farm.submission("edge", vec![farm.order("debs"), image])).await.unwrap();
    let early = packaged(&mut farm, first.id, b"of today").await;
    farm.admin.make_repeat(&project(), &nightly("edge")).await.unwrap();
    farm.turn(5 * HOUR);
    let again = came(&farm, BEGINNING).await.build.unwrap();
    let late = packaged(&mut farm, again, b"of tomorrow").await;
    assert_eq!((early, late), (Digest::of("of today"), Digest::of("of tomorrow")));
    assert_eq!(farm.build(again).await.state, BuildState::Done);
}

/// Performs a build of a package and the image that takes it; returns which package that is.
async fn packaged(farm: &mut TestFarm, build: BuildId, bytes: &[u8]) -> Digest {
    let sha256 = farm.nodes["n"].upload(bytes).await;
    let node = farm.nodes.get_mut("n").unwrap();
    let debs = node.poll(1, 2000).await.unwrap().begin.remove(0);
    assert_eq!((debs.build, debs.name.as_str()), (build, "debs"));
    let artifacts = vec![Stored { name: "a.deb".into(), size: bytes.len() as u64, sha256, task: None }];
    node.client.complete(debs.task, &Complete { epoch: debs.epoch, failure: None, artifacts }).await.unwrap();
    node.forget(&debs);
    let image = node.poll(1, 2000).await.unwrap().begin.remove(0);
    let handed = node.client.handed(image.task, image.epoch).await.unwrap();
    node.end(&image, None).await.unwrap();
    node.forget(&image);
    handed[0].sha256
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_their_makers() {
    let farm = TestFarm::start(On::any()).await;
    let asking = Asking::new(&farm);
    farm.submit("edge", &["image"]).await;
    let ann: Name = "ann".parse().unwrap();
    let made = asking.post("/api/v1/users", NewUser { name: ann.clone(), password: None, admin: false }).await;
    assert!(made.status().is_success(), "{made:?}");
    let role = async |role: Role| {
        let member = Member { user: "ann".parse().unwrap(), role };
        let joined =
            asking.request(Method::PUT, "/api/v1/projects/default/members").json(&member).send().await.unwrap();
        assert!(joined.status().is_success(), "{joined:?}");
    };
    let known = farm.farm.db.user_named("ann").await.unwrap().unwrap().0;
    let token = farm.farm.make_token(known.id, &ann, "t".into(), Scope::ALL, None).await.unwrap().secret.unwrap();
    let hers = client(farm.address, &token);

    // It takes an owner to make one; who builds may look.
    role(Role::Builder).await;
    assert_eq!(refusal(hers.make_repeat(&project(), &nightly("edge")).await).0, 403);
    assert_eq!(hers.repeats(&project()).await.unwrap(), []);
    role(Role::Owner).await;
    let repeat = hers.make_repeat(&project(), &nightly("edge")).await.unwrap();
    farm.turn(5 * HOUR);
    let build = farm.build(came(&farm, BEGINNING).await.build.unwrap()).await;
    assert_eq!(build.by, "ann");
    farm.admin.cancel(build.id).await.unwrap();

    // Who may not build any more does not by a schedule either; it says so, and goes on once they may.
    role(Role::Viewer).await;
    assert_eq!(refusal(hers.enable_repeat(&project(), repeat.id, false).await).0, 403);
    farm.turn(DAY);
    let refused = came(&farm, BEGINNING + 5 * HOUR).await;
    let why = "`ann`, whose schedule it is, may not build for `default` any more";
    assert_eq!((refused.error.as_deref(), refused.build), (Some(why), Some(build.id)));
    assert!(farm.page("/projects/default").await.contains(why));
    role(Role::Builder).await;
    farm.turn(DAY);
    let went = came(&farm, BEGINNING + 5 * HOUR + DAY).await;
    assert_eq!(went.error, None);
    assert_ne!(went.build, Some(build.id));

    // With their maker they go.
    let gone = asking.request(Method::DELETE, "/api/v1/users/ann").send().await.unwrap();
    assert!(gone.status().is_success(), "{gone:?}");
    assert_eq!(farm.admin.repeats(&project()).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_submitted_is_told() {
    let farm = TestFarm::start(On::any()).await;
    let psk: Variable = "PSK".parse().unwrap();
    let value = || kiln_farm_api::secret::Value("hunter22".into());
    farm.admin.set_secret(&project(), &psk, value()).await.unwrap();
    let work = Work::image(farm.bundle, "kiln.toml").with_secrets([psk.clone()].into());
    let order = Order::new("image".parse().unwrap(), work);
    farm.admin.submit(&farm.submission("edge", vec![order])).await.unwrap();

    let zone = NewRepeat { zone: "Mars/Olympus".into(), ..nightly("edge") };
    let cron = |cron: &str| NewRepeat { cron: cron.into(), ..nightly("edge") };
    for new in [cron("soon"), cron("0 0 31 2 *"), cron("* * * * * *"), zone] {
        let (status, why) = refusal(farm.admin.make_repeat(&project(), &new).await);
        assert_eq!(status, 400, "{new:?}: {why}");
    }
    assert_eq!(refusal(farm.admin.make_repeat(&project(), &nightly("other")).await).0, 409);
    assert_eq!(farm.admin.repeats(&project()).await.unwrap(), []);

    let repeat = farm.admin.make_repeat(&project(), &nightly("edge")).await.unwrap();
    farm.admin.drop_secret(&project(), &psk).await.unwrap();
    farm.turn(5 * HOUR);
    let told = came(&farm, BEGINNING).await;
    assert_eq!(told.error.as_deref(), Some("`default` has no secret `PSK`, which the recipe uses"));
    assert!(told.hint.unwrap().contains("kiln secret set PSK"));
    assert_eq!((told.build, told.next.is_some()), (None, true));
    farm.admin.set_secret(&project(), &psk, value()).await.unwrap();
    farm.turn(DAY);
    let went = came(&farm, BEGINNING + 5 * HOUR).await;
    assert_eq!((went.error, went.build.is_some()), (None, true));
    // One that is another project's is nobody's here.
    let other: Name = "other".parse().unwrap();
    farm.admin
        .make_project(&kiln_farm_api::NewProject { name: other.clone(), open: true, weight: None })
        .await
        .unwrap();
    assert_eq!(refusal(farm.admin.drop_repeat(&other, repeat.id).await).0, 404);
    assert_eq!(refusal(farm.admin.enable_repeat(&other, repeat.id, false).await).0, 404);
}

/// By a form as a browser without script sends it.
#[tokio::test(flavor = "multi_thread")]
async fn the_projects_page_makes_and_removes_them() {
    let farm = TestFarm::start(On::any()).await;
    farm.submit("edge of town", &["image"]).await;
    let browser = Browser::enter(&farm).await;
    let at = "/projects/default/schedules";
    let made = browser.post(at, "name=+edge+of+town&cron=%40daily&zone=Europe%2FHelsinki&keep_lock=yes").await;
    assert_eq!(made.status(), 303);
    assert_eq!(made.headers()["location"].to_str().unwrap(), "/projects/default#schedules");
    let repeat = one(&farm).await;
    let said = (repeat.name.as_str(), repeat.cron.as_str(), repeat.zone.as_str(), repeat.keep_lock, repeat.enabled);
    assert_eq!(said, ("edge of town", "@daily", "Europe/Helsinki", true, true));
    assert_eq!(browser.post(&format!("{at}/{}/enable", repeat.id), "").await.status(), 303);
    assert!(!one(&farm).await.enabled && farm.page("/projects/default").await.contains("Enable"));
    assert_eq!(browser.post(&format!("{at}/{}/enable", repeat.id), "enabled=yes").await.status(), 303);
    assert!(one(&farm).await.enabled);
    assert_eq!(browser.post(&format!("{at}/{}/drop", repeat.id), "").await.status(), 303);
    assert_eq!(farm.admin.repeats(&project()).await.unwrap(), []);
    let refused = browser.post(at, "name=nothing&cron=%40daily&zone=UTC").await;
    assert_eq!(refused.status(), 409);
    assert!(refused.text().await.unwrap().contains("has no build called"));
}
