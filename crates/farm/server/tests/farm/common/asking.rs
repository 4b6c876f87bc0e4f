//! Requests as they come over the line, of somebody without a client of ours.

use std::net::SocketAddr;

use kiln_farm_api::{Upload, routes};
use kiln_model::Digest;
use reqwest::{Client, Method, RequestBuilder, Response};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::TestFarm;

pub struct Asking {
    pub http: Client,
    pub server: String,
    pub token: String,
}

impl Asking {
    pub fn new(farm: &TestFarm) -> Self {
        let http = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { http, server: format!("http://{}", farm.address), token: farm.token.clone() }
    }

    /// The same with another token.
    pub fn with(&self, token: &str) -> Self {
        Self { http: self.http.clone(), server: self.server.clone(), token: token.to_owned() }
    }

    /// The same at another server.
    pub fn at(&self, server: SocketAddr) -> Self {
        Self { http: self.http.clone(), server: format!("http://{server}"), token: self.token.clone() }
    }

    pub fn request(&self, method: Method, at: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{at}", self.server)).bearer_auth(&self.token)
    }

    pub async fn get(&self, at: &str) -> Response {
        self.request(Method::GET, at).send().await.unwrap()
    }

    pub async fn post(&self, at: &str, body: impl serde::Serialize) -> Response {
        self.request(Method::POST, at).json(&body).send().await.unwrap()
    }

    /// Sends a piece of an upload.
    pub async fn append(&self, digest: Digest, offset: usize, length: usize, piece: &[u8]) -> Response {
        let request = self.request(Method::PATCH, &routes::upload(digest)).body(piece.to_vec());
        request.header("upload-offset", offset).header("upload-length", length).send().await.unwrap()
    }

    /// Asks how far an upload has come.
    pub async fn state(&self, digest: Digest) -> Upload {
        self.get(&routes::upload(digest)).await.json().await.unwrap()
    }

    /// Sends the beginning of a piece that is to go to the end of the upload; the line breaks when the answer is dropped.
    pub async fn begin(&self, digest: Digest, offset: usize, length: usize, beginning: &[u8]) -> TcpStream {
        let server = self.server.strip_prefix("http://").unwrap();
        let head = format!(
            "PATCH {} HTTP/1.1\r\nhost: {server}\r\nauthorization: Bearer {}\r\nupload-offset: {offset}\r\n\
             upload-length: {length}\r\ncontent-length: {}\r\n\r\n",
            routes::upload(digest),
            self.token,
            length - offset
        );
        let mut line = TcpStream::connect(server).await.unwrap();
        line.write_all(head.as_bytes()).await.unwrap();
        // A server that refuses it need not listen to the end.
        let _ = line.write_all(beginning).await;
        line
    }
}

/// An administrator's browser, without script.
pub struct Browser {
    http: Client,
    server: String,
    cookie: String,
}

impl Browser {
    /// Comes in by the link of the first start.
    pub async fn enter(farm: &TestFarm) -> Self {
        let Asking { http, server, .. } = Asking::new(farm);
        let entered = http.post(&farm.welcome).header("origin", &server).send().await.unwrap();
        let cookie = entered.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        Self { http, server, cookie }
    }

    /// Sends a form.
    pub async fn post(&self, at: &str, form: &str) -> Response {
        let request = self.http.post(format!("{}{at}", self.server)).header("origin", &self.server);
        let request =
            request.header("cookie", &self.cookie).header("content-type", "application/x-www-form-urlencoded");
        request.body(form.to_owned()).send().await.unwrap()
    }
}
