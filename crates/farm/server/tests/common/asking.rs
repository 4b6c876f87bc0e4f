//! Requests as they come over the line, of somebody without a client of ours.

use reqwest::{Client, Method, RequestBuilder, Response};

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

    pub fn request(&self, method: Method, at: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{at}", self.server)).bearer_auth(&self.token)
    }

    pub async fn get(&self, at: &str) -> Response {
        self.request(Method::GET, at).send().await.unwrap()
    }

    pub async fn post(&self, at: &str, body: impl serde::Serialize) -> Response {
        self.request(Method::POST, at).json(&body).send().await.unwrap()
    }
}
