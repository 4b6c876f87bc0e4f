//! Schedules: by a clock turned by hand, once whoever looks, and once for all that was missed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::common::{BEGINNING, On, TestFarm};
use kiln_farm_api::Name;
use kiln_farm_api::schedule::{NewSchedule, Schedule};
use kiln_farm_api::source::{NewSource, Origin, Push, PushState, Source};
use kiln_farm_server::sources::{Gather, Gathered, Packed, Read};
use kiln_model::Arch;

const HOUR: i64 = 3_600_000;
const COMMIT: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

/// Returns what reads a repository that is only told of, and how often it was read.
fn repository() -> (Gather, Arc<AtomicU32>) {
    let read = Arc::new(AtomicU32::new(0));
    let count = read.clone();
    let gather = Gather::new(move |wish| {
        count.fetch_add(1, Ordering::SeqCst);
        assert!(wish.all && wish.branch == "main" && wish.commit.is_none());
        let (name, secrets) = ("edge".into(), Default::default());
        let packed = Packed { name, arch: Arch::Amd64, bundle: b"x".into(), recipe: "kiln.toml".into(), secrets };
        let recipes = vec![Read { path: "kiln.toml".into(), outcome: Ok(packed) }];
        Ok(Gathered { commit: COMMIT.into(), recipes })
    });
    (gather, read)
}

fn project() -> Name {
    "default".parse().unwrap()
}

async fn source(farm: &TestFarm) -> Source {
    let new = serde_json::json!({ "url": "https://git.example.org/images.git" });
    let new: NewSource = serde_json::from_value(new).unwrap();
    farm.admin.make_source(&project(), &new).await.unwrap()
}

fn nightly(cron: &str) -> NewSchedule {
    NewSchedule { branch: "main".into(), cron: cron.into(), zone: "UTC".into() }
}

async fn schedule(farm: &TestFarm, source: &Source) -> Schedule {
    farm.admin.schedules(&project(), source.id).await.unwrap().swap_remove(0)
}

/// Waits until so many pushes are done.
async fn done(farm: &TestFarm, source: &Source, count: usize) -> Vec<Push> {
    for _ in 0..400 {
        let pushes = farm.admin.pushes(&project(), source.id).await.unwrap();
        if pushes.len() >= count && pushes.iter().all(|push| push.state == PushState::Done) {
            assert_eq!(pushes.len(), count, "{pushes:?}");
            return pushes;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{:?}", farm.admin.pushes(&project(), source.id).await);
}

/// Long enough for whoever looks to have looked.
async fn a_while() {
    tokio::time::sleep(Duration::from_millis(1200)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_builds_when_its_time_comes_on_sqlite() {
    it_builds_when_its_time_comes(On::Sqlite, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_servers_builds_on_postgres() {
    let postgres = kiln_testkit::Postgres::start();
    let url = postgres.url();
    it_builds_when_its_time_comes(On::Postgres(postgres), Some(url)).await;
}

async fn it_builds_when_its_time_comes(on: On, second: Option<String>) {
    let (gather, read) = repository();
    let farm = TestFarm::configured(on, |config| config.gather = Some(gather.clone())).await;
    if let Some(url) = second {
        farm.another(&url, |config| config.gather = Some(gather)).await;
    }
    let made = source(&farm).await;
    let first = farm.admin.make_schedule(&project(), made.id, &nightly("30 4 * * *")).await.unwrap();
    let due = BEGINNING + 4 * HOUR + HOUR / 2;
    assert_eq!((first.next, first.last, first.enabled), (Some(due), None, true));
    a_while().await;
    assert_eq!(farm.admin.pushes(&project(), made.id).await.unwrap(), []);

    farm.turn(5 * HOUR);
    let pushes = done(&farm, &made, 1).await;
    assert_eq!((pushes[0].origin, pushes[0].commit.as_deref()), (Origin::Schedule, Some(COMMIT)));
    let build = farm.build(pushes[0].recipes[0].build.unwrap()).await;
    assert_eq!((build.name.as_str(), build.by.as_str()), ("edge main@bbbbbbbbbbbb", "admin"));
    let now = schedule(&farm, &made).await;
    assert_eq!((now.next, now.last), (Some(due + 24 * HOUR), Some(BEGINNING + 5 * HOUR)));
    // The same commit again, for it is another night. What was missed for days is built once.
    farm.turn(10 * 24 * HOUR);
    done(&farm, &made, 2).await;
    a_while().await;
    done(&farm, &made, 2).await;
    assert_eq!(read.load(Ordering::SeqCst), 2);
    assert_eq!(schedule(&farm, &made).await.next, Some(due + 11 * 24 * HOUR));

    // Who rests misses its times, and does not make up for them.
    farm.admin.enable_schedule(&project(), made.id, first.id, false).await.unwrap();
    assert_eq!(schedule(&farm, &made).await.next, None);
    farm.turn(3 * 24 * HOUR);
    a_while().await;
    farm.admin.enable_schedule(&project(), made.id, first.id, true).await.unwrap();
    assert_eq!(schedule(&farm, &made).await.next, Some(due + 14 * 24 * HOUR));
    a_while().await;
    done(&farm, &made, 2).await;
    let page = farm.page("/projects/default/sources").await;
    assert!(page.contains("30 4 * * *") && page.contains("2026-01-15 04:30:00") && page.contains("Disable"), "{page}");
    farm.admin.drop_schedule(&project(), made.id, first.id).await.unwrap();
    farm.turn(3 * 24 * HOUR);
    a_while().await;
    done(&farm, &made, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_schedule_is_refused() {
    let farm = TestFarm::configured(On::any(), |config| config.gather = Some(repository().0)).await;
    let made = source(&farm).await;
    let zone = NewSchedule { zone: "Mars/Olympus".into(), ..nightly("30 4 * * *") };
    let branch = NewSchedule { branch: "-x".into(), ..nightly("30 4 * * *") };
    for new in [nightly("soon"), nightly("0 0 31 2 *"), nightly("* * * * * *"), zone, branch] {
        let refused = farm.admin.make_schedule(&project(), made.id, &new).await.unwrap_err();
        assert_eq!(refused.status(), Some(400), "{new:?}: {refused}");
    }
}
