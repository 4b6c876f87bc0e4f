//! Secrets of projects: who sets them, who may use them, and that nobody is shown one again.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::asking::{Asking, Browser};
use crate::common::{On, TestFarm, client};
use futures_util::FutureExt as _;
use kiln_farm_api::access::Member;
use kiln_farm_api::secret::Value;
use kiln_farm_api::{Error, Name, NewProject, NewUser, Order, Role, Scope, Secret, Variable, Work, routes};
use kiln_farm_server::db::secrets::Sealed;
use kiln_farm_server::vault::Vault;
use kiln_model::Arch;
use reqwest::Method;
use serde_json::json;

const VALUE: &str = "correct horse battery staple";

fn project() -> Name {
    "default".parse().unwrap()
}

fn variable(name: &str) -> Variable {
    name.parse().unwrap()
}

fn value(text: &str) -> Value {
    Value(text.into())
}

/// A task whose recipe uses secrets.
fn using(farm: &TestFarm, secrets: &[&str]) -> Order {
    let secrets: BTreeSet<Variable> = secrets.iter().map(|name| variable(name)).collect();
    Order::new("image".parse().unwrap(), Work::image(farm.bundle, "kiln.toml").with_secrets(secrets))
}

fn refusal<T: std::fmt::Debug>(answer: Result<T, Error>) -> (u16, String, String) {
    match answer {
        Err(Error::Refused(problem)) => (problem.status, problem.title, problem.hint.unwrap_or_default()),
        other => panic!("{other:?}"),
    }
}

async fn given_to_the_holder_alone(on: On) {
    let mut farm = TestFarm::start(on).await;
    for node in ["one", "two"] {
        farm.enrol(node, &[Arch::Amd64]).await;
    }
    // What the project lacks is named before anything is queued.
    let wanted = || vec![using(&farm, &["PSK", "TOKEN"])];
    farm.admin.set_secret(&project(), &variable("PSK"), value(VALUE)).await.unwrap();
    let (status, why, hint) = refusal(farm.admin.submit(&farm.submission("edge", wanted())).await);
    assert_eq!((status, why.as_str()), (422, "`default` has no secret `TOKEN`, which the recipe uses"));
    assert!(hint.contains("kiln secret set TOKEN --project default"), "{hint}");
    for (name, text) in [("TOKEN", "first"), ("TOKEN", "second"), ("OTHER", "nobody wants it")] {
        farm.admin.set_secret(&project(), &variable(name), value(text)).await.unwrap();
    }
    let build = farm.admin.submit(&farm.submission("edge", wanted())).await.unwrap();

    // Who holds the lease gets what the recipe uses, as it is now, and nothing else; nobody else gets anything.
    let [mut one, two] = ["one", "two"].map(|name| farm.nodes.remove(name).unwrap());
    let lease = one.poll(1, 2000).await.unwrap().begin.remove(0);
    assert_eq!(lease.work.secrets().len(), 2);
    let values = one.client.values(lease.task, lease.epoch).await.unwrap().values;
    let wanted = [(variable("PSK"), value(VALUE)), (variable("TOKEN"), value("second"))];
    assert_eq!(values, BTreeMap::from(wanted));
    assert_eq!(refusal(two.client.values(lease.task, lease.epoch).await).0, 409);
    assert_eq!(refusal(one.client.values(lease.task, lease.epoch + 1).await).0, 409);
    assert_eq!(refusal(farm.admin.values(lease.task, lease.epoch).await).0, 401);

    // One that somebody changed in the database would stay so: nobody is to ask for it again and again.
    let damaged = Sealed { text: "AAAAAAAAAAAAAAAAAAAAAAAA".into(), seal: farm.farm.vault.name().to_owned() };
    let damage = async |name: &str, sealed: Sealed| {
        let name = variable(name);
        let done = farm
            .farm
            .db
            .write(move |tx| async move { tx.set_secret(&project(), &name, &sealed, "nobody", 0).await }.boxed());
        done.await.unwrap();
    };
    damage("PSK", damaged).await;
    let (status, why, hint) = refusal(one.client.values(lease.task, lease.epoch).await);
    assert_eq!((status, why.as_str()), (422, "secret `PSK` of `default` is not as it was kept"));
    assert!(hint.contains("kiln secret set PSK"), "{hint}");
    farm.admin.set_secret(&project(), &variable("PSK"), value(VALUE)).await.unwrap();

    // One that is gone by then is the recipe's mistake, and said as plainly.
    farm.admin.drop_secret(&project(), &variable("TOKEN")).await.unwrap();
    let (status, why, _) = refusal(one.client.values(lease.task, lease.epoch).await);
    assert_eq!((status, why.contains("no secret `TOKEN`")), (422, true), "{why}");
    one.tell(&lease, 1, &["hello"]).await.unwrap();
    one.end(&lease, None).await.unwrap();
    assert_eq!(refusal(one.client.values(lease.task, lease.epoch).await).0, 409, "it is over");

    // Nothing that anybody is shown has a value in it, and nothing that is kept.
    let asking = Asking::new(&farm);
    let pages = ["/projects/default".to_owned(), format!("/builds/{}", build.id)];
    let answers = [routes::secrets(&project()), routes::build(build.id), routes::log(build.id), "/api/v1/audit".into()];
    for at in pages.iter().chain(&answers) {
        let answer = asking.get(at).await;
        assert_eq!(answer.status(), 200, "{at}");
        let text = answer.text().await.unwrap();
        assert!(!text.contains("horse") && !text.contains("second"), "{at}: {text}");
    }
    let audit = asking.get("/api/v1/audit").await.text().await.unwrap();
    for said in ["set secret", "PSK of default", "remove secret", "take secrets", "node one"] {
        assert!(audit.contains(said), "{said}: {audit}");
    }
    let kept: Vec<(String,)> =
        sqlx::query_as("SELECT sealed FROM secrets").fetch_all(farm.farm.db.reader()).await.unwrap();
    assert_eq!(kept.len(), 2);
    for file in std::fs::read_dir(farm.folder.path().join("farm")).unwrap() {
        let path = file.unwrap().path();
        let bytes = if path.is_file() { std::fs::read(&path).unwrap() } else { vec![] };
        assert!(!bytes.windows(5).any(|some| some == b"horse"), "{}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn given_to_the_holder_alone_on_sqlite() {
    given_to_the_holder_alone(On::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn given_to_the_holder_alone_on_postgres() {
    given_to_the_holder_alone(On::Postgres(kiln_testkit::Postgres::start())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_set_them_builders_see_their_names() {
    let farm = TestFarm::start(On::any()).await;
    let admin = Asking::new(&farm);
    let new = NewProject { name: "lab".parse().unwrap(), open: true, weight: None };
    farm.admin.make_project(&new).await.unwrap();
    let at = "/api/v1/projects/lab/secrets";
    for (name, role) in [("ann", Some(Role::Owner)), ("bob", Some(Role::Builder)), ("cyd", None)] {
        let password = Some("correct horse".to_owned());
        let user = NewUser { name: name.parse().unwrap(), password, admin: false };
        assert_eq!(admin.post("/api/v1/users", &user).await.status(), 201);
        if let Some(role) = role {
            let member = Member { user: name.parse().unwrap(), role };
            let put = admin.request(Method::PUT, "/api/v1/projects/lab/members").json(&member);
            assert_eq!(put.send().await.unwrap().status(), 204);
        }
        let found = farm.farm.db.user_named(name).await.unwrap().unwrap().0;
        let token = async |scope: Scope| {
            let made = farm.farm.make_token(found.id, &found.name, "t".into(), [scope], None).await;
            admin.with(&made.unwrap().secret.unwrap())
        };
        let asking = token(Scope::Admin).await;
        let put = async |asking: &Asking| {
            let request = asking.request(Method::PUT, &format!("{at}/PSK")).json(&json!({ "value": VALUE }));
            request.send().await.unwrap().status().as_u16()
        };
        let owner = role == Some(Role::Owner);
        assert_eq!(put(&asking).await, if owner { 204 } else { 403 }, "{name}");
        assert_eq!(put(&token(Scope::Submit).await).await, 403, "{name} by a token that is not for everything");
        let listed = asking.get(at).await;
        assert_eq!(listed.status(), if role.is_some() { 200 } else { 403 }, "{name}");
        if role.is_some() {
            let listed: Vec<Secret> = listed.json().await.unwrap();
            assert_eq!(listed.len(), 1);
            assert_eq!((listed[0].name.as_str(), listed[0].by.as_str(), listed[0].unreadable), ("PSK", "ann", false));
        }
        let page = asking.get("/projects/lab").await;
        assert_eq!(page.status(), if owner { 200 } else { 403 }, "{name}");
        let dropped = asking.request(Method::DELETE, &format!("{at}/NONE")).send().await.unwrap().status();
        assert_eq!(dropped, if owner { 404 } else { 403 }, "{name}");
    }
    // What cannot be one is refused, without saying it again.
    for (name, text, status) in [("PSK", "abc", 400), ("PSK", "", 400), ("P-K", "abcd", 400), ("9K", "abcd", 400)] {
        let request = admin.request(Method::PUT, &format!("{at}/{name}")).json(&json!({ "value": text }));
        assert_eq!(request.send().await.unwrap().status(), status, "{name} {text}");
    }
}

/// By a form as a browser without script sends it.
#[tokio::test(flavor = "multi_thread")]
async fn the_projects_page_sets_and_removes_them() {
    let farm = TestFarm::start(On::any()).await;
    let browser = Browser::enter(&farm).await;
    let set = browser.post("/projects/default/secrets", "name=KEY&value=BEGIN%0D%0Ahorse%0D%0AEND").await;
    assert_eq!(set.status(), 303);
    assert_eq!(set.headers()["location"].to_str().unwrap(), "/projects/default#secrets");
    let page = farm.page("/projects/default").await;
    assert!(page.contains("<code>KEY</code>") && !page.contains("horse"), "{page}");
    let kept = async |name: &str| {
        let (name, vault) = (variable(name), farm.farm.vault.clone());
        let sealed = farm.farm.db.write(|tx| Box::pin(async move { tx.sealed(&project()).await })).await.unwrap();
        sealed.get(&name).map(|one| vault.open(kiln_farm_server::vault::Owner(&project(), &name), &one.text).unwrap())
    };
    assert_eq!(kept("KEY").await, Some(value("BEGIN\nhorse\nEND")), "with the line ends of files");
    let refused = browser.post("/projects/default/secrets", "name=K-Y&value=abcd").await;
    assert_eq!(refused.status(), 400);
    assert!(refused.text().await.unwrap().contains("no name of a variable"));
    assert_eq!(browser.post("/projects/default/secrets/KEY/drop", "").await.status(), 303);
    assert_eq!(kept("KEY").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_of_one_database_need_one_key() {
    let postgres = kiln_testkit::Postgres::start();
    let url = postgres.url();
    let farm = TestFarm::start(On::Postgres(postgres)).await;
    farm.admin.set_secret(&project(), &variable("PSK"), value(VALUE)).await.unwrap();
    let key = std::fs::read_to_string(farm.folder.path().join("farm/secrets.key")).unwrap();
    let unlike = Vault::read("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
    let submission = || farm.submission("edge", vec![using(&farm, &["PSK"])]);
    let other = farm.folder.path().join("other");
    let with = async |vault: Vault| {
        let folder = other.clone();
        let at = farm.another(&url, |config| (config.vault, config.data) = (Some(vault), folder)).await;
        client(at, &farm.token)
    };
    let stranger = with(unlike).await;
    assert!(stranger.secrets(&project()).await.unwrap()[0].unreadable);
    let (status, why, hint) = refusal(stranger.submit(&submission()).await);
    assert_eq!((status, why.contains("another key")), (422, true), "{why}");
    assert!(hint.contains("kiln secret set PSK"), "{hint}");
    let sister = with(Vault::read(&key).unwrap()).await;
    assert!(!sister.secrets(&project()).await.unwrap()[0].unreadable);
    assert!(!other.join("secrets.key").exists(), "a key that was given is not written down");
    // Whoever lost the key sets them again.
    stranger.set_secret(&project(), &variable("PSK"), value("another")).await.unwrap();
    assert!(!stranger.secrets(&project()).await.unwrap()[0].unreadable);
}
