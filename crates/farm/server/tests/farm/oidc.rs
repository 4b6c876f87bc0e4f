//! Logins by OpenID Connect, against a provider that signs by openssl: who comes in, who does not, and by which token.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::common::{On, TestFarm};
use axum::extract::{Form, Query, State};
use axum::http::HeaderMap;
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use kiln_farm_server::oidc::Settings;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// A provider; what it says can be changed.
#[derive(Clone)]
struct Provider(Arc<Mutex<Says>>);

struct Says {
    port: u16,
    keys: tempfile::TempDir,
    /// The key that signs, by its name, and what else of the header and claims is said.
    key: String,
    shown: Vec<String>,
    header: Value,
    claims: Value,
    /// What is answered to who asks with the access token.
    more: Value,
    /// Codes that were given, with the questions for them.
    given: BTreeMap<String, BTreeMap<String, String>>,
}

fn openssl(words: &[&str], folder: &std::path::Path, input: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut command = Command::new("openssl");
    let command =
        command.args(words).current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "openssl {words:?}");
    output.stdout
}

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

impl Says {
    fn make_key(&self, name: &str) {
        openssl(&["genrsa", "-out", name, "2048"], self.keys.path(), b"");
    }

    fn jwk(&self, name: &str) -> Value {
        let said = openssl(&["rsa", "-in", name, "-modulus", "-noout"], self.keys.path(), b"");
        let digits = String::from_utf8(said).unwrap().trim().trim_start_matches("Modulus=").to_owned();
        let bytes: Vec<u8> =
            (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect();
        json!({ "kty": "RSA", "use": "sig", "kid": name, "n": URL_SAFE_NO_PAD.encode(bytes), "e": "AQAB" })
    }

    fn token(&self, nonce: &str) -> String {
        let issuer = format!("http://127.0.0.1:{}", self.port);
        let mut claims =
            json!({ "iss": issuer, "sub": "17", "aud": "kiln", "exp": now() + 300, "iat": now(), "nonce": nonce });
        let mut header = json!({ "alg": "RS256", "kid": self.key });
        for (all, more) in [(&mut claims, &self.claims), (&mut header, &self.header)] {
            for (key, value) in more.as_object().unwrap() {
                all[key] = value.clone();
            }
        }
        let signed = format!("{}.{}", encoded(&header), encoded(&claims));
        let signature = match header["alg"].as_str().unwrap() {
            "none" => vec![],
            "HS256" => openssl(
                &["dgst", "-sha256", "-mac", "HMAC", "-macopt", "key:secret of kiln", "-binary"],
                self.keys.path(),
                signed.as_bytes(),
            ),
            _ => openssl(&["dgst", "-sha256", "-sign", &self.key], self.keys.path(), signed.as_bytes()),
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

async fn about(State(Provider(says)): State<Provider>) -> Json<Value> {
    let at = format!("http://127.0.0.1:{}", says.lock().unwrap().port);
    let on = |path: &str| format!("{at}{path}");
    Json(
        json!({ "issuer": at, "authorization_endpoint": on("/door"), "token_endpoint": on("/token"), "jwks_uri": on("/keys"),
        "userinfo_endpoint": on("/me") }),
    )
}

async fn keys(State(Provider(says)): State<Provider>) -> Json<Value> {
    let says = says.lock().unwrap();
    let mut keys = vec![json!({ "kty": "of a kind that nobody knows", "kid": "x" })];
    keys.extend(says.shown.iter().map(|name| says.jwk(name)));
    Json(json!({ "keys": keys }))
}

async fn token(
    State(Provider(says)): State<Provider>,
    headers: HeaderMap,
    Form(form): Form<BTreeMap<String, String>>,
) -> (axum::http::StatusCode, Json<Value>) {
    let mut says = says.lock().unwrap();
    let refused = |why: &str| (axum::http::StatusCode::BAD_REQUEST, Json(json!({ "error": why })));
    let Some(asked) = says.given.remove(&form["code"]) else { return refused("invalid_grant") };
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(form["code_verifier"].as_bytes()));
    let client = format!("Basic {}", STANDARD.encode("kiln:secret+of+kiln"));
    if challenge != asked["code_challenge"]
        || form["redirect_uri"] != asked["redirect_uri"]
        || headers["authorization"] != client
    {
        return refused("invalid_request");
    }
    (
        axum::http::StatusCode::OK,
        Json(json!({ "id_token": says.token(&asked["nonce"]), "access_token": "open", "token_type": "Bearer" })),
    )
}

async fn me(State(Provider(says)): State<Provider>, headers: HeaderMap) -> Json<Value> {
    assert_eq!(headers["authorization"], "Bearer open");
    Json(says.lock().unwrap().more.clone())
}

async fn door(
    State(Provider(says)): State<Provider>,
    Query(asked): Query<BTreeMap<String, String>>,
) -> axum::response::Redirect {
    assert_eq!((asked["client_id"].as_str(), asked["response_type"].as_str()), ("kiln", "code"));
    assert_eq!((asked["code_challenge_method"].as_str(), asked["scope"].as_str()), ("S256", "openid profile email"));
    let code = format!("code{}", says.lock().unwrap().given.len());
    let to = format!("{}?code={code}&state={}", asked["redirect_uri"], asked["state"]);
    says.lock().unwrap().given.insert(code, asked);
    axum::response::Redirect::to(&to)
}

impl Provider {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let says = Says {
            port: listener.local_addr().unwrap().port(),
            keys: tempfile::tempdir().unwrap(),
            key: "first".into(),
            shown: vec!["first".into()],
            header: json!({}),
            claims: json!({ "preferred_username": "Ann", "groups": ["staff"] }),
            more: json!({ "sub": "17" }),
            given: BTreeMap::new(),
        };
        says.make_key("first");
        let this = Self(Arc::new(Mutex::new(says)));
        let router = Router::new().route("/.well-known/openid-configuration", get(about)).route("/keys", get(keys));
        let router = router
            .route("/door", get(door))
            .route("/token", post(token))
            .route("/me", get(me))
            .with_state(this.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        this
    }

    fn says(&self, claims: Value) {
        self.0.lock().unwrap().claims = claims;
    }

    async fn farm(&self, on: On, create: bool) -> TestFarm {
        let settings = Settings {
            issuer: format!("http://127.0.0.1:{}", self.0.lock().unwrap().port).parse().unwrap(),
            client_id: "kiln".into(),
            client_secret: "secret of kiln".into(),
            create,
            scopes: "openid profile email".into(),
            groups_claim: "groups".into(),
            admin_group: Some("operators".into()),
        };
        TestFarm::configured(on, |config| config.oidc = Some(settings)).await
    }
}

/// A browser without a page: it keeps cookies and goes nowhere by itself.
struct Browser {
    http: reqwest::Client,
    cookies: BTreeMap<String, String>,
    farm: String,
}

struct Answer {
    status: u16,
    to: String,
    body: String,
}

impl Browser {
    fn new(farm: &TestFarm) -> Self {
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { http, cookies: BTreeMap::new(), farm: format!("http://{}", farm.address) }
    }

    async fn ask(&mut self, method: reqwest::Method, at: &str, form: &str) -> Answer {
        let url = if at.starts_with('/') { format!("{}{at}", self.farm) } else { at.to_owned() };
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = self.http.request(method, url).header("cookie", cookies.join("; ")).header("origin", &self.farm);
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(form.to_owned());
        let answer = request.send().await.unwrap();
        for cookie in answer.headers().get_all("set-cookie") {
            let (name, value) = cookie.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        let to = answer.headers().get("location").map(|to| to.to_str().unwrap().to_owned()).unwrap_or_default();
        Answer { status: answer.status().as_u16(), to, body: answer.text().await.unwrap() }
    }

    async fn get(&mut self, at: &str) -> Answer {
        self.ask(reqwest::Method::GET, at, "").await
    }

    /// Goes to the provider and as far back as it is sent.
    async fn log_in(&mut self) -> Answer {
        let away = self.get("/login/oidc").await;
        assert_eq!(away.status, 303, "{}", away.body);
        let back = self.get(&away.to).await.to;
        self.get(&back).await
    }

    async fn me(&mut self) -> Value {
        serde_json::from_str(&self.get("/api/v1/me").await.body).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_login_makes_an_account_on_sqlite() {
    the_first_login_makes_an_account(On::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_login_makes_an_account_on_postgres() {
    the_first_login_makes_an_account(On::Postgres(kiln_testkit::Postgres::start())).await;
}

async fn the_first_login_makes_an_account(on: On) {
    let provider = Provider::start().await;
    let farm = provider.farm(on, true).await;
    let mut ann = Browser::new(&farm);
    assert!(ann.get("/login").await.body.contains("href=\"/login/oidc\""));
    let back = ann.log_in().await;
    assert_eq!((back.status, back.to.as_str()), (303, "/"), "{}", back.body);
    let me = ann.me().await;
    assert_eq!((me["name"].as_str(), me["admin"].as_bool()), (Some("ann"), Some(false)));

    // The next time it is the same account, whatever she is called now; her groups say what she may.
    provider.says(json!({ "preferred_username": "other", "groups": ["operators"] }));
    let mut again = Browser::new(&farm);
    again.log_in().await;
    let now = again.me().await;
    assert_eq!(
        (now["id"].clone(), now["name"].as_str(), now["admin"].as_bool()),
        (me["id"].clone(), Some("ann"), Some(true))
    );
    provider.says(json!({}));
    again.log_in().await;
    assert_eq!(ann.me().await["admin"].as_bool(), Some(false));

    // Another person with a name that is taken does not get it; what is only told to who asks counts too.
    provider.says(json!({ "sub": "18" }));
    provider.0.lock().unwrap().more = json!({ "sub": "18", "preferred_username": "admin" });
    let mut ben = Browser::new(&farm);
    let refused = ben.log_in().await;
    assert!(refused.status == 409 && refused.body.contains("there is a user `admin` already"), "{}", refused.body);
    provider.0.lock().unwrap().more = json!({ "sub": "17", "preferred_username": "ben" });
    assert_eq!(ben.log_in().await.status, 502, "it speaks of somebody else");
    assert_eq!(farm.farm.db.users().await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_leave_only_those_who_were_linked() {
    let provider = Provider::start().await;
    let farm = provider.farm(On::any(), false).await;
    provider.says(json!({ "preferred_username": "admin", "groups": ["operators"] }));
    let mut stranger = Browser::new(&farm);
    let refused = stranger.log_in().await;
    assert!(refused.status == 403 && refused.body.contains("has no account here"), "{}", refused.body);

    let mut admin = Browser::new(&farm);
    let welcome = farm.welcome.trim_start_matches(&admin.farm).to_owned();
    assert_eq!(admin.ask(reqwest::Method::POST, &welcome, "").await.status, 303);
    let page = admin.ask(reqwest::Method::POST, "/account/oidc", "").await.body;
    let door = page
        .split("href=\"")
        .find(|rest| rest.contains("/door?"))
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .replace("&amp;", "&");
    let back = admin.get(&door).await.to;
    // Nobody else's browser may end it, and it ends once.
    assert_eq!(stranger.get(&back).await.status, 403);
    assert_eq!(admin.get(&back).await.status, 303);
    assert_eq!(admin.get(&back).await.status, 403);
    provider.says(json!({ "groups": [] }));
    assert_eq!(stranger.log_in().await.status, 303);
    let me = stranger.me().await;
    assert_eq!(
        (me["name"].as_str(), me["admin"].as_bool()),
        (Some("admin"), Some(true)),
        "of an account that was there groups change nothing"
    );
    // One way in stays: without a password it is this one.
    let listed: Value = serde_json::from_str(&stranger.get("/api/v1/identities").await.body).unwrap();
    assert_eq!((listed[0]["user"].as_str(), listed[0]["subject"].as_str()), (Some("admin"), Some("17")), "{listed}");
    let form = format!("issuer={}&subject=17", listed[0]["issuer"].as_str().unwrap());
    let post = reqwest::Method::POST;
    let refused = stranger.ask(post.clone(), "/account/unlink", &form).await;
    assert!(refused.status == 409 && refused.body.contains("no other way to log in"), "{}", refused.body);
    let link =
        stranger.http.post(format!("{}/account/oidc", stranger.farm)).header("origin", "http://evil.example.org");
    let link =
        link.header("cookie", format!("kiln_session={}", stranger.cookies["kiln_session"])).send().await.unwrap();
    assert_eq!(link.status(), 403);
    assert_eq!(stranger.ask(post.clone(), "/account/password", "password=correct+horse").await.status, 303);
    assert_eq!(stranger.log_in().await.status, 303);
    assert!(stranger.get("/account").await.body.contains("Unlink"));
    assert_eq!(stranger.ask(post.clone(), "/account/unlink", &form).await.to, "/login");
    assert_eq!(stranger.get("/api/v1/me").await.status, 401, "who was in by it is not any more");
    let refused = stranger.log_in().await;
    assert!(refused.status == 403 && refused.body.contains("has no account here"), "{}", refused.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_administrator_stays_whatever_the_provider_says() {
    let provider = Provider::start().await;
    let farm = provider.farm(On::any(), true).await;
    provider.says(json!({ "preferred_username": "ann", "groups": ["operators"] }));
    let mut ann = Browser::new(&farm);
    ann.log_in().await;
    farm.farm.drop_user("admin".parse().unwrap(), &"ann".parse().unwrap()).await.unwrap();
    provider.says(json!({ "groups": [] }));
    assert_eq!(ann.log_in().await.status, 303);
    assert_eq!(ann.me().await["admin"].as_bool(), Some(true), "nobody else could make her one again");
    farm.farm.make_user("ben".parse().unwrap(), None, true, "ann").await.unwrap();
    ann.log_in().await;
    assert_eq!(ann.me().await["admin"].as_bool(), Some(false));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_token_that_is_meant_opens_the_door() {
    let provider = Provider::start().await;
    let farm = provider.farm(On::any(), true).await;
    let bad = [
        json!({ "iss": "http://evil.example.org" }),
        json!({ "aud": "another" }),
        json!({ "aud": ["kiln", "another"] }),
        json!({ "aud": ["kiln", "another"], "azp": "another" }),
        json!({ "exp": now() - 300 }),
        json!({ "nbf": now() + 300 }),
        json!({ "nonce": "of another login" }),
        json!({ "sub": null }),
        json!({ "exp": null }),
    ];
    for claims in bad {
        provider.says(claims.clone());
        let refused = Browser::new(&farm).log_in().await;
        assert!(
            refused.status == 502 && refused.body.contains("the provider of logins"),
            "{claims}: {} {}",
            refused.status,
            refused.body
        );
    }
    provider.says(json!({}));
    for header in
        [json!({ "alg": "none" }), json!({ "alg": "HS256" }), json!({ "alg": "PS256" }), json!({ "kid": "unknown" })]
    {
        provider.0.lock().unwrap().header = header.clone();
        let refused = Browser::new(&farm).log_in().await;
        assert_eq!(refused.status, 502, "{header}: {}", refused.body);
    }
    {
        let mut says = provider.0.lock().unwrap();
        says.make_key("evil");
        (says.header, says.key) = (json!({ "kid": "first" }), "evil".into());
    }
    assert_eq!(Browser::new(&farm).log_in().await.status, 502, "signed by somebody else");

    // A new key is looked for when a token is signed with it.
    {
        let mut says = provider.0.lock().unwrap();
        says.make_key("second");
        (says.header, says.key, says.shown) = (json!({}), "second".into(), vec!["second".into()]);
    }
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    let back = Browser::new(&farm).log_in().await;
    assert_eq!(back.status, 303, "{}", back.body);
    let mut browser = Browser::new(&farm);
    let refused = browser.get("/login/oidc/back?state=x&code=y").await;
    assert_eq!(refused.status, 403);
    let away = browser.get("/login/oidc").await.to;
    let state = away.split("state=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    let refused = browser.get(&format!("/login/oidc/back?state={state}&error=access_denied")).await;
    assert!(refused.status == 403 && refused.body.contains("access_denied"), "{}", refused.body);
}
