//! A backup made while everybody writes, and the farm that comes back from it.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::{BEGINNING, On, TestFarm, client};
use kiln_farm_api::hook::{HookEvent, NewHook};
use kiln_farm_api::secret::Value;
use kiln_farm_api::source::NewSource;
use kiln_farm_api::{Build, Client, Name};
use kiln_farm_server::backup::{Manifest, backup, restore};
use kiln_farm_server::serve::{Config, Server};
use kiln_farm_server::sources::Gather;
use kiln_model::{Arch, Digest, Fault};
use kiln_testkit::Postgres;

async fn back_up(farm: &TestFarm, name: &str) -> Manifest {
    let file = farm.folder.path().join(name);
    backup(&farm.folder.path().join("farm"), farm.database().as_deref(), &file, BEGINNING).await.unwrap()
}

/// Returns a server on what was restored, and a client of it.
async fn serve(data: &Path, database: Option<String>, token: &str) -> (Client, tokio::task::JoinHandle<()>) {
    let config = Config { reserve: 0, database, ..Config::new((Ipv4Addr::LOCALHOST, 0).into(), data.to_owned()) };
    let server = Server::open_with(config, Arc::new(|| BEGINNING)).await.unwrap();
    assert!(server.welcome.is_none(), "it has an administrator");
    let address = server.address();
    let serving = tokio::spawn(async move { server.run(std::future::pending()).await });
    (client(address, token), serving)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_there_comes_back() {
    comes_back(On::Sqlite, On::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_there_comes_back_from_postgres() {
    comes_back(On::Postgres(Postgres::start()), On::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_there_comes_back_on_postgres() {
    comes_back(On::Sqlite, On::Postgres(Postgres::start())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_there_comes_back_from_one_postgres_on_another() {
    comes_back(On::Postgres(Postgres::start()), On::Postgres(Postgres::start())).await;
}

async fn comes_back(on: On, again: On) {
    let mut farm = TestFarm::start(on).await;
    farm.enrol("n", &[Arch::Amd64]).await;
    let mut builds = vec![];
    for (name, bytes) in [("one", b"first".as_slice()), ("two", b"second"), ("empty", b"")] {
        let id = farm.done(name, bytes).await;
        builds.push((farm.build(id).await, bytes.to_vec()));
    }
    let manifest = writing_meanwhile(&farm).await;
    let (file, data) = (farm.folder.path().join("b.kiln"), farm.folder.path().join("restored"));
    assert_eq!(restore(&file, &data, None, again.url().as_deref()).await.unwrap().manifest, manifest);
    assert_eq!(data.join("kiln.db").exists(), again.url().is_none());
    if let Some(url) = again.url() {
        let refused = restore(&file, &farm.folder.path().join("twice"), None, Some(&url)).await.unwrap_err().problem();
        assert!(refused.title.contains("holds a farm already"), "{}", refused.title);
        assert_eq!(fs::read_dir(farm.folder.path().join("twice")).unwrap().count(), 0);
    }
    let (client, serving) = serve(&data, again.url(), &farm.token).await;
    for (build, bytes) in builds {
        let restored: Build = client.build(build.id).await.unwrap();
        assert_eq!(restored, build);
        let path = farm.folder.path().join("artifact");
        client.artifact(build.id, "out/image.raw", None, &path).await.unwrap();
        assert_eq!(fs::read(path).unwrap(), bytes);
        assert_eq!(client.events(build.id, 0, &[]).await.unwrap(), farm.admin.events(build.id, 0, &[]).await.unwrap());
    }
    serving.abort();
}

/// Who finds a backup finds what it says in docs/operations.md, and no more.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_backup_tells() {
    let farm = TestFarm::configured(On::any(), |config| {
        config.gather = Some(Gather::new(|_| Err(Fault::upstream("nobody there"))));
    });
    let (farm, project): (_, Name) = (farm.await, "default".parse().unwrap());
    let (hook, source, credential) = ("the secret of a hook", "the secret of a source", "ann:the-token");
    let url = "https://ci.example.org/".to_owned();
    let new = NewHook { url, events: [HookEvent::BuildEnded].into(), secret: Some(hook.into()) };
    farm.admin.make_hook(&project, &new).await.unwrap();
    let new = NewSource {
        url: "https://git.example.org/images.git".into(),
        branches: vec!["main".into()],
        recipes: vec!["kiln.toml".into()],
        secret: Some(source.into()),
        credential: Some(credential.into()),
    };
    farm.admin.make_source(&project, &new).await.unwrap();
    farm.admin.set_secret(&project, &"PSK".parse().unwrap(), Value("correct horse".into())).await.unwrap();
    back_up(&farm, "b.kiln").await;
    let bytes = zstd::decode_all(fs::File::open(farm.folder.path().join("b.kiln")).unwrap()).unwrap();
    let has = |text: &str| bytes.windows(text.len()).any(|some| some == text.as_bytes());
    let key = fs::read_to_string(farm.folder.path().join("farm/secrets.key")).unwrap();
    for text in [hook, source, credential, "the-token", "correct horse", key.trim()] {
        assert!(!has(text) && (text == key.trim() || farm.holding(text).is_empty()), "{text}");
    }
    assert!(has("https://ci.example.org/") && has(&farm.token), "it has the rest, and `admin.token`");
}

/// Makes a backup while builds are submitted one after the other.
async fn writing_meanwhile(farm: &TestFarm) -> Manifest {
    let (going, submission) = (Arc::new(AtomicBool::new(true)), farm.submission("busy", vec![farm.order("image")]));
    let (more, client) = (going.clone(), farm.admin.clone());
    let writer = tokio::spawn(async move {
        let mut submitted = 0;
        while more.load(Ordering::SeqCst) {
            client.submit(&submission).await.unwrap();
            submitted += 1;
        }
        submitted
    });
    let manifest = back_up(farm, "b.kiln").await;
    going.store(false, Ordering::SeqCst);
    assert!(writer.await.unwrap() > 0);
    manifest
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_with_the_reason() {
    let farm = TestFarm::start(On::Sqlite).await;
    let digest = farm.upload(b"precious").await;
    let (folder, data) = (farm.folder.path().to_owned(), farm.folder.path().join("farm"));
    back_up(&farm, "b.kiln").await;
    let file = folder.join("b.kiln");

    for at in [kiln_testkit::free_port().to_string(), "swordfish".into()] {
        let nobody = format!("postgres://kiln:swordfish@127.0.0.1:{at}/kiln");
        let refused = backup(&data, Some(&nobody), &folder.join("p"), 0).await.unwrap_err();
        assert!(!format!("{refused:?}").contains("swordfish") && !folder.join("p").exists());
        let refused = restore(&file, &folder.join("r"), None, Some(&nobody)).await.unwrap_err();
        assert!(!format!("{refused:?}").contains("swordfish"));
        assert_eq!(fs::read_dir(folder.join("r")).unwrap().count(), 0, "nothing is left of it");
    }
    // One that broke off.
    fs::write(folder.join("r/restoring.db"), "half").unwrap();
    let config = Config { reserve: 0, ..Config::new((Ipv4Addr::LOCALHOST, 0).into(), folder.join("r")) };
    let refused = Server::open(config).await.map(drop).unwrap_err().problem();
    assert!(refused.title.contains("a restore broke off"), "{}", refused.title);
    fs::remove_file(folder.join("r/restoring.db")).unwrap();
    let refused = backup(&data, None, &file, 0).await.unwrap_err().problem();
    assert!(refused.title.contains("is there already"), "{}", refused.title);
    let refused = backup(&folder, None, &folder.join("p"), 0).await.unwrap_err().problem();
    assert!(refused.title.contains("is no folder of a farm"), "{}", refused.title);
    let refused = restore(&file, &data, None, None).await.unwrap_err().problem();
    assert!(refused.title.contains("is not empty"), "{}", refused.title);
    let refused = restore(&data.join("kiln.db"), &folder.join("r"), None, None).await;
    assert!(refused.is_err());

    // Bytes that rotted: neither packed, nor unpacked.
    fs::write(farm.farm.blobs.folder.path(digest), b"precioux").unwrap();
    let refused = backup(&data, None, &folder.join("p"), 0).await.unwrap_err();
    assert!(std::error::Error::source(&refused).unwrap().to_string().contains(&digest.to_string()));
    assert!(!folder.join("p").exists());
    let rotten = rotten(&file, &folder);
    let refused = restore(&rotten, &folder.join("r"), None, None).await.unwrap_err().problem();
    assert!(refused.title.contains("is damaged in the backup"), "{}", refused.title);
    assert_eq!(fs::read_dir(folder.join("r")).unwrap().count(), 0, "nothing is left of it");
    restore(&file, &folder.join("r"), None, None).await.unwrap();
    assert_eq!(Digest::of(fs::read(folder.join("r/kiln.db")).unwrap()).to_string().len(), 64);
}

/// Returns the same backup with one word of a blob changed.
fn rotten(file: &Path, folder: &Path) -> std::path::PathBuf {
    let mut bytes = zstd::decode_all(fs::File::open(file).unwrap()).unwrap();
    let at = bytes.windows(8).rposition(|window| window == b"precious").unwrap();
    bytes[at] = b'P';
    let path = folder.join("rotten");
    fs::write(&path, zstd::encode_all(bytes.as_slice(), 1).unwrap()).unwrap();
    path
}
