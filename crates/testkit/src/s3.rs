//! A server that speaks S3 on a port of its own, checks signatures, and keeps its objects in a folder.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::free_port;

/// A server; it ends with this value.
#[derive(Debug)]
pub struct S3 {
    pub port: u16,
    /// Whom it listens to.
    from: Ipv4Addr,
    folder: PathBuf,
    /// The same, where it goes with the server.
    _own: Option<tempfile::TempDir>,
    runtime: Option<Runtime>,
    /// What the key that it lets in is called, and its secret.
    key: [String; 2],
}

impl S3 {
    /// Starts one with the bucket `artifacts`, for this machine alone.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("artifacts")).expect("a bucket");
        let folder = (folder.path().to_owned(), Some(folder));
        Self::started(folder, (Ipv4Addr::LOCALHOST, free_port()), ["kiln", "kiln's secret"])
    }

    /// Starts one on `port` for whoever reaches this machine, with the buckets that are folders in `folder`.
    pub fn start_in(folder: &Path, port: u16, key: [&str; 2]) -> Self {
        Self::started((folder.to_owned(), None), (Ipv4Addr::UNSPECIFIED, port), key)
    }

    fn started(folder: (PathBuf, Option<tempfile::TempDir>), at: (Ipv4Addr, u16), key: [&str; 2]) -> Self {
        let ((folder, own), (from, port)) = (folder, at);
        let mut s3 = Self { port, from, folder, _own: own, runtime: None, key: key.map(str::to_owned) };
        s3.up();
        s3
    }

    /// Starts it, again if it was stopped; its objects are still there.
    pub fn up(&mut self) {
        let objects = FileSystem::new(&self.folder).expect("a folder of objects");
        let mut service = S3ServiceBuilder::new(objects);
        let [key, secret] = self.key.clone();
        service.set_auth(SimpleAuth::from_single(key, secret));
        let service = service.build();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("threads");
        let (at, (up, is_up)) = ((self.from, self.port), std::sync::mpsc::channel());
        runtime.spawn(async move {
            let listener = TcpListener::bind(at).await.expect("a free port");
            let _ = up.send(());
            answer(listener, service).await;
        });
        is_up.recv().expect("the S3 server listens");
        self.runtime = Some(runtime);
    }

    /// Stops it in the middle of whatever it does.
    pub fn down(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Also from a test that is async itself.
            std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(5))).join().expect("it ends");
        }
    }

    /// Lets another key in, and the one before no more.
    pub fn rekey(&mut self, key: &str, secret: &str) {
        self.down();
        self.key = [key.to_owned(), secret.to_owned()];
        self.up();
    }

    /// Returns how it is reached and who may, in the words of the environment.
    pub fn environment(&self) -> BTreeMap<String, String> {
        let endpoint = format!("http://127.0.0.1:{}", self.port);
        let all = [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", &self.key[0]),
            ("AWS_SECRET_ACCESS_KEY", &self.key[1]),
        ];
        all.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// Returns the file that an object of the bucket is kept in.
    pub fn object(&self, name: &str) -> PathBuf {
        self.folder.join("artifacts").join(name)
    }

    /// Returns the names of the bucket's objects.
    pub fn objects(&self) -> Vec<String> {
        let (mut found, mut left) = (vec![], vec![PathBuf::new()]);
        let bucket = self.object("");
        while let Some(under) = left.pop() {
            for entry in std::fs::read_dir(bucket.join(&under)).expect("the bucket is there") {
                let entry = entry.expect("the bucket can be read");
                let path = under.join(entry.file_name());
                match entry.file_type().expect("it has a kind") {
                    kind if kind.is_dir() => left.push(path),
                    _ => found.push(path.to_string_lossy().into_owned()),
                }
            }
        }
        found.sort();
        found
    }
}

async fn answer(listener: TcpListener, service: S3Service) {
    while let Ok((socket, _)) = listener.accept().await {
        let service = service.clone();
        tokio::spawn(async move {
            let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.down();
    }
}
