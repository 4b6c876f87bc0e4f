//! What servers of one PostgreSQL hear of each other when it was away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use kiln_farm_api::BuildId;
use kiln_farm_server::db::elsewhere::{self, Ear};
use kiln_farm_server::hub::Hub;
use kiln_testkit::Postgres;
use sqlx::AnyPool;
use uuid::Uuid;

async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..1200 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never: {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn they_hear_again_when_the_database_is_back() {
    sqlx::any::install_default_drivers();
    let mut postgres = Postgres::start();
    let (hub, woken) = (Arc::new(Hub::default()), Arc::new(AtomicU32::new(0)));
    let (ear, count) = (Ear { url: postgres.url(), own: "this one".into() }, woken.clone());
    let listening = tokio::spawn(ear.listen(hub.clone(), move || {
        count.fetch_add(1, Ordering::SeqCst);
    }));
    until("it listens", || hub.listens() && woken.load(Ordering::SeqCst) == 1).await;
    let build = BuildId(Uuid::now_v7());
    let mut watching = hub.watch(build);
    for round in 1..=3 {
        postgres.down();
        until("it knows that it hears nothing", || !hub.listens()).await;
        let before = woken.load(Ordering::SeqCst);
        watching.mark_unchanged();
        postgres.up();
        until("it listens again", || hub.listens() && woken.load(Ordering::SeqCst) > before).await;
        assert!(watching.has_changed().unwrap(), "who watches looks for what was said meanwhile");
        assert_eq!(woken.load(Ordering::SeqCst), before + 1, "so do nodes that wait for work, once");

        let pool = AnyPool::connect(&postgres.url()).await.unwrap();
        elsewhere::wake(&pool, "another").await.unwrap();
        until("it hears of work", || woken.load(Ordering::SeqCst) == before + 2).await;
        let grown = sqlx::query("SELECT pg_notify('kiln_logs', $1)").bind(format!("{build}:{round}"));
        grown.execute(&pool).await.unwrap();
        until("it hears of a log", || *watching.borrow() == round).await;
        pool.close().await;
    }
    listening.abort();
}
