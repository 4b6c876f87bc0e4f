//! Artifacts in a bucket: uploads, downloads and gc on a server that speaks S3, also when it goes away in the middle.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::common::asking::Asking;
use crate::common::{BEGINNING, On, TestFarm, bucket, client, many};
use kiln_farm_api::retention::Swept;
use kiln_farm_api::{Error, Upload, routes};
use kiln_farm_server::backup::{backup, restore};
use kiln_farm_server::blobs::{Address, Sent};
use kiln_farm_server::db::holders::Holder;
use kiln_farm_server::decide::retain::DAY;
use kiln_farm_server::serve::{Config, Server};
use kiln_farm_server::watch::Watch;
use kiln_model::{Arch, Digest};
use kiln_testkit::{Postgres, S3};
use reqwest::{Method, StatusCode};

impl Asking {
    async fn part(&self, digest: Digest, range: &str) -> (StatusCode, Vec<u8>) {
        let request = self.request(Method::GET, &routes::blob(digest)).header("range", range);
        let response = request.send().await.unwrap();
        (response.status(), response.bytes().await.unwrap().to_vec())
    }
}

fn uploads(farm: &TestFarm) -> usize {
    fs::read_dir(farm.folder.path().join("farm/uploads")).unwrap().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn in_pieces_checked_and_read_in_parts() {
    let s3 = S3::start();
    let farm = TestFarm::in_bucket(On::Sqlite, &s3).await;
    let ask = Asking::new(&farm);
    let (bytes, digest) = many(40 << 20);
    let (half, before) = (17 << 20, s3.objects());
    let answer = ask.append(digest, 0, bytes.len(), &bytes[..half]).await;
    assert_eq!(answer.json::<Upload>().await.unwrap(), Upload { offset: half as u64, complete: false });
    assert_eq!(s3.objects(), before, "with SQLite there is no other server that could go on");
    assert_eq!(ask.append(digest, 0, bytes.len(), &bytes[..half]).await.status(), StatusCode::CONFLICT);
    let answer = ask.append(digest, half, bytes.len(), &bytes[half..]).await;
    let whole = Upload { offset: bytes.len() as u64, complete: true };
    assert_eq!(answer.json::<Upload>().await.unwrap(), whole);
    assert_eq!((ask.state(digest).await, uploads(&farm)), (whole, 0), "nothing is left on the server");
    assert!(!farm.farm.blobs.folder.path(digest).exists());

    assert_eq!(ask.part(digest, "bytes=0-").await, (StatusCode::PARTIAL_CONTENT, bytes.clone()));
    let (from, to) = ((16 << 20) - 3, 16 << 20);
    let wanted = bytes[from..=to].to_vec();
    assert_eq!(ask.part(digest, &format!("bytes={from}-{to}")).await, (StatusCode::PARTIAL_CONTENT, wanted));
    assert_eq!(ask.part(digest, "bytes=-5").await.1, bytes[bytes.len() - 5..]);
    assert_eq!(ask.part(digest, "bytes=41943040-").await.0, StatusCode::RANGE_NOT_SATISFIABLE);
    let path = farm.folder.path().join("whole");
    farm.admin.download(digest, &path).await.unwrap();
    assert!(fs::read(path).unwrap() == bytes);

    // No bytes at all are a blob too, and bytes that are others than was said are none.
    let nothing = Digest::of("");
    assert!(ask.append(nothing, 0, 0, b"").await.json::<Upload>().await.unwrap().complete);
    assert_eq!(ask.part(nothing, "bytes=0-").await.0, StatusCode::RANGE_NOT_SATISFIABLE);
    let before = s3.objects();
    let other = Digest::of("other");
    assert_eq!(ask.append(other, 0, 5, b"wrong").await.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(ask.state(other).await, Upload { offset: 0, complete: false });
    assert_eq!(s3.objects(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_goes_away_costs_nothing_but_time() {
    let mut s3 = S3::start();
    let mut farm = TestFarm::in_bucket(On::Sqlite, &s3).await;
    farm.enrol("n", &[Arch::Amd64]).await;
    let build = farm.done("before", b"made before").await;
    let ask = Asking::new(&farm);
    let (bytes, digest) = many(40 << 20);
    ask.append(digest, 0, bytes.len(), &bytes[..9]).await;
    let before = s3.objects();
    s3.down();

    // Pieces are still taken; what is whole cannot be put, and stays.
    let refused = ask.append(digest, 9, bytes.len(), &bytes[9..]).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    let words = refused.text().await.unwrap();
    assert!(words.contains("try again later"), "{words}");
    assert_eq!(ask.state(digest).await, Upload { offset: bytes.len() as u64, complete: false });
    let refused = farm.admin.artifact(build, "out/image.raw", None, &farm.folder.path().join("to")).await.unwrap_err();
    assert!(
        matches!(&refused, Error::Refused(problem) if problem.status == 503 && problem.hint.is_some()),
        "{refused}"
    );
    assert!(refused.is_passing(), "a node tries again");
    let submission = farm.submission("meanwhile", vec![farm.order("image")]);
    farm.admin.submit(&submission).await.unwrap();
    assert!(farm.get("/metrics", &[]).await.body.contains("kiln_store_failures_total"));

    s3.up();
    assert_eq!(s3.objects(), before, "nothing is there by half");
    assert!(ask.append(digest, bytes.len(), bytes.len(), b"").await.json::<Upload>().await.unwrap().complete);
    assert!(farm.blob(digest).await.unwrap() == bytes);
    assert_eq!(farm.artifact(build).await, b"made before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_dies_while_it_is_written_to() {
    let mut s3 = S3::start();
    let farm = TestFarm::in_bucket(On::any(), &s3).await;
    let (ask, before) = (Asking::new(&farm), s3.objects());
    let (bytes, digest) = many(64 << 20);
    let path = farm.folder.path().join("long");
    fs::write(&path, &bytes).unwrap();
    for wait in [5, 40, 120] {
        let (client, path) = (farm.admin.clone(), path.clone());
        let uploading = tokio::spawn(async move { client.upload(digest, &path).await });
        while !ask.state(digest).await.complete && ask.state(digest).await.offset < bytes.len() as u64 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(wait)).await;
        s3.down();
        let uploaded = uploading.await.unwrap();
        s3.up();
        let (known, objects) = (farm.farm.db.blob(digest).await.unwrap(), s3.objects());
        assert_eq!(uploaded.is_ok(), known.is_some(), "what was said is so");
        if known.is_none() {
            assert_eq!(objects, before, "nothing is there by half");
        }
    }
    farm.admin.upload(digest, &path).await.unwrap();
    assert!(farm.blob(digest).await.unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_with_folders_of_their_own() {
    let (s3, postgres) = (S3::start(), Postgres::start());
    let (url, store) = (postgres.url(), bucket(&s3));
    let farm = TestFarm::in_bucket(On::Postgres(postgres), &s3).await;
    let data = farm.folder.path().join("second");
    let change = |config: &mut Config| (config.data, config.store) = (data, Some(store));
    let second = client(farm.another(&url, change).await, &farm.token);
    let path = farm.folder.path().join("race");

    // The same bytes to both at once: one object, and both know it.
    let (bytes, digest) = many(1 << 20);
    fs::write(&path, &bytes).unwrap();
    let (one, other) = tokio::join!(farm.admin.upload(digest, &path), second.upload(digest, &path));
    one.and(other).unwrap();
    let named = s3.objects().into_iter().filter(|name| name.contains(&digest.to_string())).count();
    assert_eq!(named, 1);

    // The gc of one while somebody asks the other for what nobody needed until now.
    for round in 0..24_u8 {
        let bytes = [round; 40];
        let digest = farm.upload(&bytes).await;
        farm.turn(2 * DAY);
        fs::write(&path, bytes).unwrap();
        let mut submission = farm.submission("race", vec![farm.order("image")]);
        let kiln_farm_api::Work::Image { bundle, .. } = &mut submission.tasks[0].work;
        *bundle = digest;
        let submitted = async {
            tokio::time::sleep(Duration::from_millis(u64::from(round))).await;
            second.upload(digest, &path).await.unwrap();
            second.submit(&submission).await.unwrap()
        };
        let (swept, _) = tokio::join!(farm.admin.gc(false), submitted);
        swept.unwrap();
        assert_eq!(farm.blob(digest).await.unwrap(), bytes, "round {round}");
        second.download(digest, &path).await.unwrap();
        assert_eq!(fs::read(&path).unwrap(), bytes, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_is_found_later() {
    let s3 = S3::start();
    let farm = TestFarm::in_bucket(On::any(), &s3).await;
    let (kept, digest) = (s3.objects(), Digest::of("crash"));
    let name = |number: u8| format!("farm/blobs/{}/{digest}-{number}", &digest.to_string()[..2]);
    for number in [1, 2] {
        fs::create_dir_all(s3.object(&name(1)).parent().unwrap()).unwrap();
        fs::write(s3.object(&name(number)), "crash").unwrap();
    }
    fs::write(s3.object("farm/other"), "somebody else's").unwrap();
    let age = |path: &Path| {
        let then = SystemTime::now() - Duration::from_secs(25 * 3600);
        File::options().append(true).open(path).unwrap().set_modified(then).unwrap();
    };
    age(&s3.object(&name(1)));
    age(&s3.object("farm/other"));
    kept.iter().for_each(|name| age(&s3.object(name)));
    let wanted = Swept { unused: 1, unused_bytes: 5, ..Swept::default() };
    assert_eq!(farm.admin.gc(true).await.unwrap(), Swept { dry_run: true, ..wanted.clone() });
    assert_eq!(farm.admin.gc(false).await.unwrap(), wanted);
    let mut left: Vec<String> = kept.into_iter().chain([name(2), "farm/other".into()]).collect();
    left.sort();
    assert_eq!(s3.objects(), left);
    let ask = Asking::new(&farm);
    assert!(!ask.state(digest).await.complete, "an object alone is no blob");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_farm_that_gets_a_bucket_later() {
    let (s3, folder) = (S3::start(), tempfile::tempdir().unwrap());
    let start = |store: Option<Address>| Server::open_with(config(folder.path(), store), Arc::new(|| BEGINNING));
    let farm = start(None).await.unwrap().farm;
    let old = farm.keep("old".into()).await.unwrap();
    drop(farm);
    let farm = start(Some(bucket(&s3))).await.unwrap().farm;
    assert!(farm.upload(Sent { by: Holder::Server, digest: old }).await.unwrap().complete);
    let new = farm.keep("new".into()).await.unwrap();
    let places = [old, new].map(|digest| farm.db.blob(digest));
    let places = futures_util::future::join_all(places).await;
    let places: Vec<bool> = places.into_iter().map(|known| known.unwrap().unwrap().place.name().is_some()).collect();
    assert_eq!(places, [false, true]);
    drop(farm);
    let refused = start(None).await.map(drop).unwrap_err().problem();
    assert!(refused.title.contains("1 blobs of this farm are in a bucket"), "{}", refused.title);
    assert!(refused.hint.unwrap().contains("--store"));
}

fn config(data: &Path, store: Option<Address>) -> Config {
    Config { reserve: 0, store, ..Config::new((std::net::Ipv4Addr::LOCALHOST, 0).into(), data.to_owned()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_at_the_start() {
    let s3 = S3::start();
    let mut farm = TestFarm::in_bucket(On::any(), &s3).await;
    farm.farm.keep("something".into()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        ("s3://nowhere/farm", ("AWS_REGION", "us-east-1"), "there is no bucket `nowhere`"),
        ("s3://artifacts/x", ("AWS_SECRET_ACCESS_KEY", "guess"), "AWS_SECRET_ACCESS_KEY"),
        ("s3://artifacts/x", ("AWS_ACCESS_KEY_ID", "guess"), "AWS_ACCESS_KEY_ID"),
        ("s3://artifacts/x", ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"), "nothing at `http://127.0.0.1:9` answers"),
        ("s3://artifacts/farm", ("AWS_REGION", "us-east-1"), "is another farm's"),
    ];
    for (place, (name, value), words) in cases {
        let environment = s3.environment().into_iter().chain([(name.to_owned(), value.to_owned())]);
        let address = Address::parse(place).unwrap().with_environment(environment);
        let data = folder.path().join(Digest::of(words).to_string());
        let refused = Server::open(config(&data, Some(address))).await.map(drop).unwrap_err().problem();
        assert!(refused.title.contains(words) && refused.hint.is_some(), "{}", refused.title);
    }
    // The same farm at another place.
    farm.stop().await;
    let elsewhere = Address::parse("s3://artifacts/elsewhere").unwrap().with_environment(s3.environment());
    let data = farm.folder.path().join("farm");
    let config = Config { database: farm.database(), ..config(&data, Some(elsewhere)) };
    let refused = Server::open(config).await.map(drop).unwrap_err().problem();
    assert!(refused.title.contains("is not where this farm's blobs are"), "{}", refused.title);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_leaves_them_there_and_a_restore_looks() {
    let s3 = S3::start();
    let mut farm = TestFarm::in_bucket(On::any(), &s3).await;
    farm.enrol("n", &[Arch::Amd64]).await;
    let (kept, lost) = (farm.done("kept", b"kept").await, farm.done("lost", b"lost").await);
    let (file, data) = (farm.folder.path().join("b.kiln"), farm.folder.path().join("restored"));
    let made = backup(&farm.folder.path().join("farm"), farm.database().as_deref(), &file, BEGINNING).await.unwrap();
    assert_eq!((made.blobs, made.elsewhere, made.elsewhere_bytes), (0, 3, 6 + 4 + 4));
    let object = s3.objects().into_iter().find(|name| name.contains(&Digest::of("lost").to_string())).unwrap();
    fs::remove_file(s3.object(&object)).unwrap();
    let restored = restore(&file, &data, Some(&bucket(&s3)), None).await.unwrap();
    assert_eq!((restored.manifest, restored.lacking), (made, Some(1)));
    let server = Server::open_with(config(&data, Some(bucket(&s3))), Arc::new(|| BEGINNING)).await.unwrap();
    let (address, farm_again) = (server.address(), server.farm.clone());
    let serving = tokio::spawn(async move { server.run(std::future::pending()).await });
    let (client, to) = (client(address, &farm.token), data.join("to"));
    client.artifact(kept, "out/image.raw", None, &to).await.unwrap();
    assert_eq!(fs::read(&to).unwrap(), b"kept");
    assert_eq!(client.artifact(lost, "out/image.raw", None, &to).await.unwrap_err().status(), Some(404));
    farm_again.keep("lost".into()).await.unwrap();
    client.artifact(lost, "out/image.raw", None, &to).await.unwrap();
    serving.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn other_keys_are_taken_while_it_runs() {
    let mut s3 = S3::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    let keys = |s3: &S3| {
        let environment = s3.environment().into_iter();
        environment.map(|(name, value)| format!("{name}={value}\n")).collect::<String>()
    };
    let store =
        Address::parse("s3://artifacts/farm").unwrap().watching(Watch::begin([file.clone()]), &keys(&s3)).unwrap();
    fs::write(&file, keys(&s3)).unwrap();
    let farm = TestFarm::configured(On::any(), |config| config.store = Some(store)).await;
    let (before, path) = (farm.upload(b"before").await, folder.path().join("after"));
    fs::write(&path, "after").unwrap();
    s3.rekey("another", "its secret");
    let upload = || farm.admin.upload(Digest::of("after"), &path);
    assert_eq!(upload().await.unwrap_err().status(), Some(503));
    // A file that is none changes nothing; the next one does.
    fs::write(&file, "nonsense").unwrap();
    fs::write(&file, keys(&s3)).unwrap();
    let began = std::time::Instant::now();
    while let Err(error) = upload().await {
        assert!(error.status() == Some(503) && began.elapsed() < Duration::from_secs(30), "{error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(farm.blob(Digest::of("after")).await.unwrap(), b"after");
    assert_eq!(farm.blob(before).await.unwrap(), b"before");
}
