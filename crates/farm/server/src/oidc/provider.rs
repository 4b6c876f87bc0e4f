//! What a provider says of itself, and what it is asked.

use std::fmt;
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::Jwk;
use kiln_farm_api::client::rooted;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::redirect::Policy;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tokio::sync::Mutex;
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};

use super::Settings;
use super::token::{self, Claims};
use crate::error::{Error, Result};

/// How long what it said is believed.
const FRESH: Duration = Duration::from_secs(3600);
/// How long there is between two looks at its keys, when a token has an unknown one.
const PAUSE: Duration = Duration::from_secs(5);
/// Longest answer, bytes.
const ANSWER: usize = 1 << 20;

/// A provider that people log in by.
pub struct Provider {
    settings: Settings,
    http: reqwest::Client,
    known: Mutex<Option<Known>>,
}

#[derive(Clone)]
struct Known {
    about: About,
    keys: Vec<Jwk>,
    at: Instant,
}

/// Its discovery document, as far as it matters.
#[derive(Clone, Debug, Deserialize)]
struct About {
    issuer: String,
    #[serde(deserialize_with = "address")]
    authorization_endpoint: Url,
    #[serde(deserialize_with = "address")]
    token_endpoint: Url,
    #[serde(deserialize_with = "address")]
    jwks_uri: Url,
    #[serde(default, deserialize_with = "some_address")]
    userinfo_endpoint: Option<Url>,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
}

fn address<'de, D: Deserializer<'de>>(from: D) -> Result<Url, D::Error> {
    String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
}

fn some_address<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Url>, D::Error> {
    address(from).map(Some)
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Tokens {
    id_token: String,
    #[serde(default)]
    access_token: Option<String>,
}

impl Provider {
    pub fn new(settings: Settings) -> Self {
        let http = || reqwest::Client::builder().timeout(Duration::from_secs(15)).redirect(Policy::none());
        let http = rooted(&http, &[]).expect("a client without special wishes can be made");
        Self { settings, http, known: Mutex::default() }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns where people log in.
    pub async fn door(&self, back: &str, state: &str, nonce: &str, challenge: &str) -> Result<Url> {
        let mut door = self.known(false).await?.about.authorization_endpoint;
        door.query_pairs_mut().extend_pairs([
            ("response_type", "code"),
            ("client_id", &self.settings.client_id),
            ("redirect_uri", back),
            ("scope", &self.settings.scopes),
            ("state", state),
            ("nonce", nonce),
            ("code_challenge", challenge),
            ("code_challenge_method", "S256"),
        ]);
        Ok(door)
    }

    /// Exchanges a code for what the provider says of somebody.
    pub async fn claims(&self, code: &str, back: &str, verifier: &str, nonce: &str) -> Result<Claims> {
        let known = self.known(false).await?;
        let exchange = self.exchange(&known.about, code, back, verifier);
        let Tokens { id_token, access_token } = self.answer(exchange, "exchange a code with").await?;
        let key = match token::key(&known.keys, &id_token) {
            Some(key) => key.clone(),
            None => {
                let keys = self.known(true).await?.keys;
                let unknown = || refused("its token is signed with a key that it does not show");
                token::key(&keys, &id_token).cloned().ok_or_else(unknown)?
            }
        };
        let claims = token::verify(&id_token, &key, &known.about.issuer, &self.settings, nonce).map_err(refused)?;
        // Some say in the token who it is, and what they are called only when they are asked.
        let Some((ask, token)) = known.about.userinfo_endpoint.zip(access_token) else { return Ok(claims) };
        let more = self.answer(self.http.get(ask).bearer_auth(token), "ask who it is").await?;
        claims.and(more).map_err(refused)
    }

    /// Returns the question what a code is worth.
    fn exchange(&self, about: &About, code: &str, back: &str, verifier: &str) -> reqwest::RequestBuilder {
        let Settings { client_id, client_secret, .. } = &self.settings;
        let mut form = Serializer::new(String::new());
        form.extend_pairs([("grant_type", "authorization_code"), ("code", code)]);
        form.extend_pairs([("redirect_uri", back), ("code_verifier", verifier)]);
        let methods = &about.token_endpoint_auth_methods_supported;
        let basic = methods.is_empty() || methods.iter().any(|one| one == "client_secret_basic");
        let mut request = self.http.post(about.token_endpoint.clone());
        if basic {
            let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
            request = request.basic_auth(encoded(client_id), Some(encoded(client_secret)));
        } else {
            form.extend_pairs([("client_id", client_id), ("client_secret", client_secret)]);
        }
        request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form.finish())
    }

    /// Returns what the provider says of itself; `anew`: its keys may have changed.
    async fn known(&self, anew: bool) -> Result<Known> {
        let mut known = self.known.lock().await;
        if let Some(known) = known.as_ref().filter(|known| known.at.elapsed() < if anew { PAUSE } else { FRESH }) {
            return Ok(known.clone());
        }
        let base = self.settings.issuer.as_str().trim_end_matches('/');
        let discovery = self.http.get(format!("{base}/.well-known/openid-configuration"));
        let about: About = self.answer(discovery, "look at").await?;
        if about.issuer.trim_end_matches('/') != base {
            return Err(refused(format!("it calls itself `{}`", about.issuer)));
        }
        let plain = self.settings.issuer.scheme() == "http";
        let all = [&about.authorization_endpoint, &about.token_endpoint, &about.jwks_uri];
        if let Some(open) =
            all.into_iter().chain(&about.userinfo_endpoint).find(|url| url.scheme() != "https" && !plain)
        {
            return Err(refused(format!("`{open}` is not spoken to through TLS")));
        }
        let Keys { keys } = self.answer(self.http.get(about.jwks_uri.clone()), "look at the keys of").await?;
        // Of kinds that nobody here knows there may be others.
        let keys = keys.into_iter().filter_map(|key| serde_json::from_value(key).ok()).collect();
        Ok(known.insert(Known { about, keys, at: Instant::now() }).clone())
    }

    async fn answer<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder, doing: &str) -> Result<T> {
        let failed = |error: reqwest::Error| Error::failed(format!("{doing} the provider of logins"), error);
        let mut response = request.header(ACCEPT, "application/json").send().await.map_err(failed)?;
        let status = response.status();
        let mut body = vec![];
        while let Some(piece) = response.chunk().await.map_err(failed)? {
            body.extend_from_slice(&piece);
            if body.len() > ANSWER {
                return Err(refused("its answer is too long"));
            }
        }
        if !status.is_success() {
            let said: Value = serde_json::from_slice(&body).unwrap_or_default();
            let why = said["error_description"].as_str().or(said["error"].as_str()).unwrap_or("no reason");
            tracing::warn!("{doing} the provider of logins: {status}: {}", why.escape_debug());
            return Err(refused(format!("it answers {status}")));
        }
        serde_json::from_slice(&body).map_err(|error| refused(format!("its answer makes no sense: {error}")))
    }
}

fn refused(why: impl fmt::Display) -> Error {
    let fault = Error::refused(axum::http::StatusCode::BAD_GATEWAY, format!("the provider of logins: {why}"));
    fault.hint("log in again; the server's log may say more")
}
