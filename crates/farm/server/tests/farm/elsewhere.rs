//! What servers of one PostgreSQL hear of each other when it was away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use kiln_farm_api::BuildId;
use kiln_farm_server::db::elsewhere::{self, Ear, QUIET};
use kiln_farm_server::hub::Hub;
use kiln_testkit::Postgres;
use sqlx::AnyPool;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
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
    let (ear, count) = (Ear { url: postgres.url(), own: "this one".into(), quiet: QUIET }, woken.clone());
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

/// A way to a database that can go dead without a word: nothing goes through any more, and nobody hangs up.
struct Way {
    port: u16,
    /// How many lines went this way, and how many words that were said to the database.
    lines: Arc<AtomicU32>,
    words: Arc<AtomicU64>,
    /// The lines up to this one are dead.
    dead: watch::Sender<u32>,
}

impl Way {
    async fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let (dead, dying) = watch::channel(0);
        let here = listener.local_addr().unwrap().port();
        let way = Self { port: here, lines: Arc::default(), words: Arc::default(), dead };
        let (lines, words) = (way.lines.clone(), way.words.clone());
        tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                let number = lines.fetch_add(1, Ordering::SeqCst) + 1;
                let to = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let ((asked, answers), (said, asks)) = (from.into_split(), to.into_split());
                tokio::spawn(pass(asked, asks, number, dying.clone(), words.clone()));
                tokio::spawn(pass(said, answers, number, dying.clone(), Arc::default()));
            }
        });
        way
    }

    /// All lines there are so far go dead.
    fn die(&self) {
        self.dead.send_replace(self.lines.load(Ordering::SeqCst));
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    number: u32,
    mut dying: watch::Receiver<u32>,
    words: Arc<AtomicU64>,
) {
    let mut some = [0; 4096];
    loop {
        tokio::select! {
            biased;
            // It is held, so that nobody hangs up.
            _ = async { dying.wait_for(|last| *last >= number).await.map(drop) } => std::future::pending().await,
            read = from.read(&mut some) => match read {
                Ok(count @ 1..) => {
                    words.fetch_add(1, Ordering::SeqCst);
                    to.write_all(&some[..count]).await.unwrap();
                }
                _ => return,
            },
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_dead_without_a_word_is_replaced() {
    sqlx::any::install_default_drivers();
    let postgres = Postgres::start();
    let way = Way::to(postgres.port).await;
    let (hub, woken) = (Arc::new(Hub::default()), Arc::new(AtomicU32::new(0)));
    let url = postgres.url().replace(&postgres.port.to_string(), &way.port.to_string());
    let ear = Ear { url, own: "this one".into(), quiet: Duration::from_secs(2) };
    let count = woken.clone();
    let listening = tokio::spawn(ear.listen(hub.clone(), move || {
        count.fetch_add(1, Ordering::SeqCst);
    }));
    until("it listens", || hub.listens() && woken.load(Ordering::SeqCst) == 1).await;
    let build = BuildId(Uuid::now_v7());
    let mut watching = hub.watch(build);

    // One that is only silent is asked, says that it lives, and stays.
    let asked = way.words.load(Ordering::SeqCst);
    until("it is asked", || way.words.load(Ordering::SeqCst) >= asked + 3).await;
    assert_eq!((way.lines.load(Ordering::SeqCst), woken.load(Ordering::SeqCst)), (1, 1));
    assert!(hub.listens());
    let pool = AnyPool::connect(&postgres.url()).await.unwrap();
    elsewhere::wake(&pool, "another").await.unwrap();
    until("it hears", || woken.load(Ordering::SeqCst) == 2).await;

    way.die();
    watching.mark_unchanged();
    elsewhere::wake(&pool, "another").await.unwrap();
    let grown = sqlx::query("SELECT pg_notify('kiln_logs', $1)").bind(format!("{build}:7"));
    grown.execute(&pool).await.unwrap();
    until("there is another line", || way.lines.load(Ordering::SeqCst) == 2 && hub.listens()).await;
    until("nodes look for what was said meanwhile", || woken.load(Ordering::SeqCst) == 3).await;
    assert!(watching.has_changed().unwrap(), "so does who watches");
    elsewhere::wake(&pool, "another").await.unwrap();
    until("it hears on the new line", || woken.load(Ordering::SeqCst) == 4).await;
    listening.abort();
}
