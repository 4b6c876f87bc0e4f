//! A server that is killed between its database and its bucket: what was put there and not noted, and what was forgotten and not
//! removed, the next gc finds, and nothing else.

use std::fs::File;
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Child;
use std::time::{Duration, SystemTime};

use kiln_farm_api::points::Point;
use kiln_farm_api::{Client, routes};
use kiln_model::Digest;
use kiln_testkit::{Postgres, S3, free_port};

use super::{Server, Trap, upload};

const DAY: Duration = Duration::from_secs(24 * 3600);

pub async fn torment(rounds: u32) {
    let (postgres, s3, folder, port) = (Postgres::start(), S3::start(), tempfile::tempdir().unwrap(), free_port());
    let mut environment = s3.environment();
    environment.insert("KILN_STORE".into(), "s3://artifacts/farm".into());
    environment.insert("DATABASE_URL".into(), postgres.url());
    let data = folder.path().join("farm");
    let mut server = Server::start(port, data.clone(), environment);
    let token = std::fs::read_to_string(data.join("admin.token")).unwrap().trim().to_owned();
    let admin = Client::new(format!("http://127.0.0.1:{port}").parse().unwrap(), &token);
    for round in 0..rounds {
        once(round, &mut server, &admin, &token, &postgres, &s3).await;
    }
    println!("killed {rounds} times at each of {} points", Point::OF_STORES.len());
}

/// One upload that is parked and not noted, one blob that is forgotten and not removed.
async fn once(round: u32, server: &mut Server, admin: &Client, token: &str, postgres: &Postgres, s3: &S3) {
    let (folder, of_none) = (tempfile::tempdir().unwrap(), format!("of no build {round}"));
    let stray = upload(admin, &folder.path().join("stray"), of_none.as_bytes()).await;
    let begun = s3.objects();

    // Killed when a piece is in the bucket, and no row says so.
    let bytes: Vec<u8> = (0..12 << 20).map(|number: u32| ((number + round) % 251) as u8).collect();
    let digest = Digest::of(&bytes);
    server.kill();
    server.again(Some(Trap::Kill(Point::UploadParked, 1)));
    let mut line = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    let (way, whole, piece) = (routes::upload(digest), bytes.len(), &bytes[..8 << 20]);
    let head = format!(
        "PATCH {way} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nupload-offset: 0\r\nupload-length: {whole}\r\n\
         content-length: {}\r\n\r\n",
        piece.len()
    );
    line.write_all(&[head.as_bytes(), piece].concat()).unwrap();
    died(&mut server.process);
    let parked: Vec<String> = s3.objects().into_iter().filter(|name| !begun.contains(name)).collect();
    assert!(parked.len() == 1 && parked[0].starts_with("farm/uploads/"), "{parked:?}");

    // The next one goes on, and the bytes are those that were sent.
    server.again(None);
    assert_eq!(upload(admin, &folder.path().join("whole"), &bytes).await, digest);
    let back = folder.path().join("back");
    admin.download(digest, &back).await.unwrap();
    assert!(std::fs::read(&back).unwrap() == bytes);
    assert!(s3.objects().contains(&parked[0]), "it may be somebody's for a day");

    // A day later. Killed when rows are gone, and their bytes are not: in the part of the store that has those of no build.
    postgres.run("UPDATE blobs SET used = 0; UPDATE parked SET made = 0");
    for name in s3.objects() {
        let long_ago = SystemTime::now() - 2 * DAY;
        File::options().write(true).open(s3.object(&name)).unwrap().set_modified(long_ago).unwrap();
    }
    let part = u32::from_str_radix(&stray.to_string()[..2], 16).unwrap();
    let named = |objects: &[String], digest: Digest| objects.iter().any(|name| name.contains(&digest.to_string()));
    server.kill();
    server.again(Some(Trap::Kill(Point::RowsGone, part + 1)));
    assert!(admin.gc(false).await.is_err());
    died(&mut server.process);
    let rows = postgres.run(&format!("SELECT count(*) FROM blobs WHERE sha256 = '{stray}'"));
    assert_eq!((rows.as_str(), named(&s3.objects(), stray)), ("0", true), "the rows first");

    server.again(None);
    admin.gc(false).await.unwrap();
    let left = s3.objects();
    assert!(!named(&left, stray) && !named(&left, digest) && !left.contains(&parked[0]), "{left:?}");
    assert_eq!(postgres.run("SELECT count(*) FROM parked"), "0");
    // What is new again stays.
    upload(admin, &folder.path().join("stray"), of_none.as_bytes()).await;
    let swept = admin.gc(false).await.unwrap();
    assert_eq!((swept.unused, named(&s3.objects(), stray)), (0, true));
}

/// Waits until a server's trap has snapped.
fn died(process: &mut Child) {
    let began = std::time::Instant::now();
    while process.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < Duration::from_secs(60), "the point was never passed");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(process.wait().unwrap().signal(), Some(9));
}
