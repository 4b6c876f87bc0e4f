//! Sources: what a forge says is built once, as its owner, and what goes wrong is there to be seen.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::asking::Asking;
use crate::common::{BEGINNING, On, TestFarm};
use hmac::{Hmac, KeyInit as _, Mac as _};
use kiln_farm_api::secret::Value;
use kiln_farm_api::source::{NewSource, Origin, Push, PushState, Source};
use kiln_farm_api::{Name, SourceId};
use kiln_farm_server::db::builds::Wanted;
use kiln_farm_server::sources::{Gather, Gathered, Mistake, Packed, Read, Wish};
use kiln_farm_server::vault::Vault;
use kiln_model::{Arch, Fault};
use reqwest::Method;
use sha2::Sha256;

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

/// A repository that is only told of: the first looks at it fail as often as `away` says.
#[derive(Clone, Default)]
struct Repository {
    away: Arc<AtomicU32>,
    wishes: Arc<Mutex<Vec<Wish>>>,
}

impl Repository {
    fn gather(&self) -> Gather {
        let this = self.clone();
        Gather::new(move |wish| this.read(wish))
    }

    fn read(&self, wish: &Wish) -> Result<Gathered, Fault> {
        self.wishes.lock().unwrap().push(wish.clone());
        if self.away.load(Ordering::SeqCst) > 0 {
            self.away.fetch_sub(1, Ordering::SeqCst);
            return Err(Fault::upstream("git fetch: nobody there").hint("look at the cable"));
        }
        let packed = |secret: Option<&str>| {
            let secrets = secret.into_iter().map(|name| name.parse().unwrap()).collect();
            let (name, recipe) = ("edge".into(), "kiln.toml".into());
            Packed { name, arch: Arch::Arm64, bundle: b"a bundle".into(), recipe, secrets }
        };
        let diagnostics =
            vec![serde_json::json!({ "file": "bad.toml", "line": 3, "column": 1, "message": "unknown key `x`" })];
        let mistake = Mistake { error: "the recipe has 1 mistake".into(), hint: None, diagnostics };
        let good = Read { path: "kiln.toml".into(), outcome: Ok(packed(None)) };
        let bad = Read { path: "bad.toml".into(), outcome: Err(mistake) };
        let commit = wish.commit.clone().unwrap_or_else(|| B.into());
        let secret = Read { path: "secret.toml".into(), outcome: Ok(packed(Some("PSK"))) };
        let recipes = match wish.branch.as_str() {
            "bad" => vec![good, bad],
            "secret" => vec![secret, good],
            _ => vec![good],
        };
        Ok(Gathered { commit, recipes })
    }
}

fn project() -> Name {
    "default".parse().unwrap()
}

async fn with(on: On, repository: &Repository) -> TestFarm {
    TestFarm::configured(on, |config| config.gather = Some(repository.gather())).await
}

async fn source(farm: &TestFarm) -> Source {
    let new = NewSource {
        url: "https://git.example.org/images.git".into(),
        branches: vec!["main".into(), "bad".into(), "secret".into()],
        recipes: vec!["*.toml".into()],
        secret: None,
        credential: Some("ann:very-secret".into()),
    };
    farm.admin.make_source(&project(), &new).await.unwrap()
}

/// Says something as a forge does; returns the status and the answer.
async fn say(farm: &TestFarm, source: &Source, secret: &str, branch: &str, commit: &str) -> (u16, serde_json::Value) {
    let body = format!(r#"{{"ref":"refs/heads/{branch}","before":"{A}","after":"{commit}"}}"#);
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let digits: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let at = format!("http://{}/api/v1/projects/default/sources/{}/push", farm.address, source.id);
    let request = reqwest::Client::new().post(at).header("x-gitea-event", "push").header("x-gitea-signature", digits);
    let answer = request.body(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Waits until the newest push is as it should be.
async fn settled(farm: &TestFarm, source: SourceId, state: PushState, attempts: u32) -> Push {
    for _ in 0..400 {
        let push = farm.admin.pushes(&project(), source).await.unwrap().swap_remove(0);
        // While an attempt is made, the error is that of the one before, and the moment is its own end.
        let again = farm.farm.now() + (15_000 << (2 * attempts.saturating_sub(1)));
        let noted = push.next == Some(again) || push.state != PushState::Waiting || attempts == 0;
        if push.state == state && push.attempts == attempts && noted {
            return push;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{:?}", farm.admin.pushes(&project(), source).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_built_once_on_sqlite() {
    a_push_is_built_once(On::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_built_once_on_postgres() {
    a_push_is_built_once(On::Postgres(kiln_testkit::Postgres::start())).await;
}

async fn a_push_is_built_once(on: On) {
    let repository = Repository::default();
    let farm = with(on, &repository).await;
    let made = source(&farm).await;
    let secret = made.secret.clone().unwrap();
    assert!(made.credential && farm.admin.sources(&project()).await.unwrap()[0].secret.is_none());

    let (status, answer) = say(&farm, &made, &secret, "main", B).await;
    assert_eq!(status, 202, "{answer}");
    let push = settled(&farm, made.id, PushState::Done, 1).await;
    assert_eq!((answer["push"].as_str(), push.origin), (Some(push.id.to_string().as_str()), Origin::Push));
    // The same word again, and the same commit on another branch, is the same push.
    for branch in ["main", "bad"] {
        assert_eq!(say(&farm, &made, &secret, branch, B).await, (202, answer.clone()));
    }
    tokio::time::sleep(Duration::from_millis(700)).await;
    let wanted = Wanted { limit: 10, ..Wanted::default() };
    assert_eq!(farm.farm.db.builds(&wanted).await.unwrap().builds.len(), 1);
    let build = farm.build(push.recipes[0].build.unwrap()).await;
    assert_eq!((build.name.as_str(), build.by.as_str()), ("edge main@bbbbbbbbbbbb", "admin"));
    assert_eq!(build.tasks[0].order.arch, Some(Arch::Arm64));
    let wish = repository.wishes.lock().unwrap()[0].clone();
    assert_eq!((wish.commit.as_deref(), wish.base.as_deref(), wish.all), (Some(B), Some(A), false));
    assert_eq!(wish.credential.as_deref(), Some("ann:very-secret"));

    // What is not signed, not wanted, or nowhere, builds nothing.
    assert_eq!(say(&farm, &made, "another secret of theirs", "main", A).await.0, 401);
    let (status, answer) = say(&farm, &made, &secret, "other", A).await;
    assert!(status == 200 && answer["ignored"].as_str().unwrap().contains("`other`"), "{answer}");
    assert_eq!(farm.admin.pushes(&project(), made.id).await.unwrap().len(), 1);
    farm.admin.drop_source(&project(), made.id).await.unwrap();
    assert_eq!(say(&farm, &made, &secret, "main", A).await.0, 404);
    assert_eq!(farm.build(build.id).await.id, build.id, "its builds stay");
}

/// One of a time when secrets lay in clear is sealed when a server starts, and is told and fetched as before.
async fn sealed_at_the_start(on: On) {
    const SECRET: &str = "correct horse battery staple";
    let repository = Repository::default();
    let mut farm = with(on, &repository).await;
    let made = source(&farm).await;
    let kept = async |farm: &TestFarm| -> (String, String) {
        sqlx::query_as("SELECT secret, credential FROM sources").fetch_one(farm.farm.db.reader()).await.unwrap()
    };
    assert!(!kept(&farm).await.1.contains("very-secret") && farm.holding("very-secret").is_empty());
    let clear = sqlx::query("UPDATE sources SET secret = $1, credential = 'ann:very-secret'").bind(SECRET);
    clear.execute(farm.farm.db.reader()).await.unwrap();
    farm.again(|config| config.gather = Some(repository.gather())).await;
    let (secret, credential) = kept(&farm).await;
    assert!(secret.starts_with("kiln-sealed:") && credential.starts_with("kiln-sealed:"), "{secret} {credential}");
    for text in [SECRET, "very-secret"] {
        assert_eq!(farm.holding(text), Vec::<PathBuf>::new(), "{text}");
    }
    assert_eq!(say(&farm, &made, SECRET, "main", B).await.0, 202);
    settled(&farm, made.id, PushState::Done, 1).await;
    assert_eq!(repository.wishes.lock().unwrap()[0].credential.as_deref(), Some("ann:very-secret"));

    // With another key nobody can say whether it is signed.
    let unlike = Vault::read("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
    farm.again(|config| config.vault = Some(unlike)).await;
    let (status, answer) = say(&farm, &made, SECRET, "main", A).await;
    assert_eq!(status, 422, "{answer}");
    assert!(answer["title"].as_str().unwrap().contains("another key"), "{answer}");
    assert_eq!(kept(&farm).await, (secret, credential), "what it cannot read it leaves");
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_at_the_start_on_sqlite() {
    sealed_at_the_start(On::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_at_the_start_on_postgres() {
    sealed_at_the_start(On::Postgres(kiln_testkit::Postgres::start())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_there_to_be_seen() {
    let farm = with(On::any(), &Repository::default()).await;
    let made = source(&farm).await;
    say(&farm, &made, made.secret.as_deref().unwrap(), "bad", B).await;
    let push = settled(&farm, made.id, PushState::Failed, 1).await;
    assert!(push.error.is_none() && push.recipes[0].build.is_some() && push.recipes[1].build.is_none());
    assert_eq!(push.recipes[1].diagnostics[0]["line"], 3);
    let page = farm.page("/projects/default/sources").await;
    assert!(page.contains("bad.toml, line 3, column 1: unknown key `x`"), "{page}");
    assert!(page.contains(&format!("/builds/{}", push.recipes[0].build.unwrap())) && !page.contains("very-secret"));
    let audit = farm.get("/api/v1/audit", &[("authorization", &format!("Bearer {}", farm.token))]).await.body;
    assert!(audit.contains("make source"), "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_lacking_is_said_and_hinders_no_other_recipe() {
    let farm = with(On::any(), &Repository::default()).await;
    let made = source(&farm).await;
    say(&farm, &made, made.secret.as_deref().unwrap(), "secret", B).await;
    let push = settled(&farm, made.id, PushState::Failed, 1).await;
    let [lacking, other] = push.recipes.try_into().unwrap();
    assert!(push.error.is_none() && lacking.build.is_none() && other.build.is_some());
    assert_eq!(lacking.error.as_deref(), Some("`default` has no secret `PSK`, which the recipe uses"));
    assert!(lacking.hint.unwrap().contains("kiln secret set PSK --project default"));

    farm.admin.set_secret(&project(), &"PSK".parse().unwrap(), Value("correct horse".into())).await.unwrap();
    farm.admin.build_source(&project(), made.id, "secret").await.unwrap();
    let push = settled(&farm, made.id, PushState::Done, 1).await;
    let build = farm.build(push.recipes[0].build.unwrap()).await;
    assert_eq!(build.tasks[0].order.work.secrets().iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["PSK"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_away_is_asked_again_and_then_given_up() {
    let repository = Repository::default();
    let farm = with(On::any(), &repository).await;
    let made = source(&farm).await;
    repository.away.store(1, Ordering::SeqCst);
    say(&farm, &made, made.secret.as_deref().unwrap(), "main", B).await;
    let push = settled(&farm, made.id, PushState::Waiting, 1).await;
    assert_eq!((push.error.as_deref(), push.next), (Some("git fetch: nobody there"), Some(BEGINNING + 15_000)));
    farm.turn(15_000);
    let push = settled(&farm, made.id, PushState::Done, 2).await;
    assert!(push.error.is_none() && push.recipes.len() == 1);

    repository.away.store(9, Ordering::SeqCst);
    let told = farm.admin.build_source(&project(), made.id, "main").await.unwrap();
    for (attempts, pause) in [(1, 15_000), (2, 60_000), (3, 240_000)] {
        assert_eq!(settled(&farm, made.id, PushState::Waiting, attempts).await.id, told.push.unwrap());
        farm.turn(pause);
    }
    let push = settled(&farm, made.id, PushState::Failed, 4).await;
    assert_eq!((push.origin, push.hint.as_deref()), (Origin::Hand, Some("look at the cable")));
    assert!(repository.wishes.lock().unwrap().last().unwrap().all);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_is_built_when_the_forge_says_it_again() {
    let repository = Repository::default();
    let farm = with(On::any(), &repository).await;
    let made = source(&farm).await;
    let secret = made.secret.as_deref().unwrap();
    repository.away.store(4, Ordering::SeqCst);
    say(&farm, &made, secret, "main", B).await;
    for (attempts, pause) in [(1, 15_000), (2, 60_000), (3, 240_000)] {
        settled(&farm, made.id, PushState::Waiting, attempts).await;
        farm.turn(pause);
    }
    let failed = settled(&farm, made.id, PushState::Failed, 4).await;
    assert_eq!(say(&farm, &made, secret, "main", B).await.0, 202);
    let built = settled(&farm, made.id, PushState::Done, 1).await;
    assert!(built.id == failed.id && built.error.is_none() && built.recipes.len() == 1, "{built:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_what() {
    let farm = with(On::any(), &Repository::default()).await;
    let made = source(&farm).await;
    let post = async |path: &str, token: &str, body: serde_json::Value| {
        let request =
            reqwest::Client::new().post(format!("http://{}{path}", farm.address)).bearer_auth(token).json(&body);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let new = |url: &str| serde_json::json!({ "url": url });
    let sources = "/api/v1/projects/default/sources";
    for url in [
        "http://git.example.org/a",
        "file:///etc",
        "https://127.0.0.1/a",
        "ssh://git.example.org/a",
        "https://a:b@git.example.org/",
    ] {
        assert_eq!(post(sources, &farm.token, new(url)).await.0, 400, "{url}");
    }
    let bad = serde_json::json!({ "url": "https://git.example.org/a", "recipes": ["a**"] });
    assert_eq!(post(sources, &farm.token, bad).await.0, 400);

    let user = serde_json::json!({ "name": "ben", "password": "correct horse" });
    assert_eq!(post("/api/v1/users", &farm.token, user).await.0, 201);
    let (ben, _) = farm.farm.db.user_named("ben").await.unwrap().unwrap();
    let scopes = kiln_farm_api::Scope::ALL;
    let token = farm.farm.make_token(ben.id, &ben.name, "t".into(), scopes, None).await.unwrap().secret.unwrap();
    let pushes = format!("{sources}/{}/pushes", made.id);
    let main = serde_json::json!({ "branch": "main" });
    assert_eq!(post(sources, &token, new("https://git.example.org/a")).await.0, 403, "a viewer makes none");
    assert_eq!(post(&pushes, &token, main.clone()).await.0, 403);
    farm.farm.join(project(), ben.id, Some(kiln_farm_api::Role::Builder), "admin").await.unwrap();
    assert_eq!(post(sources, &token, new("https://git.example.org/a")).await.0, 403, "nor does a builder");
    assert_eq!(post(&pushes, &token, main.clone()).await.0, 202, "who builds what others made");
    assert_eq!(post(&pushes, &token, serde_json::json!({ "branch": "--upload-pack=x" })).await.0, 400);

    // Builds are the owner's, for as long as they may build here; and whoever has sources is not removed.
    farm.farm.join(project(), ben.id, Some(kiln_farm_api::Role::Owner), "admin").await.unwrap();
    let (status, his) = post(sources, &token, new("https://git.example.org/a")).await;
    assert_eq!(status, 201, "{his}");
    let his: Source = serde_json::from_str(&his).unwrap();
    let ask = Asking::new(&farm);
    let kept = ask.request(Method::DELETE, "/api/v1/users/ben").send().await.unwrap();
    assert_eq!(kept.status(), 409);
    assert!(kept.text().await.unwrap().contains("`ben` has a source in project `default` that would stop"));
    farm.farm.join(project(), ben.id, None, "admin").await.unwrap();
    say(&farm, &his, his.secret.as_deref().unwrap(), "main", B).await;
    let push = settled(&farm, his.id, PushState::Failed, 1).await;
    assert!(push.error.as_deref().unwrap().contains("`ben`, whose source it is, may not build"), "{push:?}");
    farm.admin.drop_source(&project(), his.id).await.unwrap();
    assert_eq!(ask.request(Method::DELETE, "/api/v1/users/ben").send().await.unwrap().status(), 204);
}
