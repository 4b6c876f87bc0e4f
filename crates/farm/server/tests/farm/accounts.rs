//! Accounts and what hangs on them: invitations, tokens, projects, and the log of who did what.

use kiln_farm_api::access::Identity;
use kiln_farm_api::{NewUser, Role, Scope, Token};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::common::asking::Asking;
use crate::common::{On, TestFarm};

/// Makes a user, and returns who asks with a token of theirs.
async fn user(farm: &TestFarm, name: &str, admin: bool) -> Asking {
    let user = NewUser { name: name.parse().unwrap(), password: None, admin };
    assert_eq!(Asking::new(farm).post("/api/v1/users", &user).await.status(), StatusCode::CREATED);
    let (user, _) = farm.farm.db.user_named(name).await.unwrap().unwrap();
    let token = farm.farm.make_token(user.id, &user.name, format!("of {name}"), Scope::ALL, None).await.unwrap();
    Asking::new(farm).with(&token.secret.unwrap())
}

impl Asking {
    async fn all(&self, at: &str) -> Vec<Value> {
        self.get(at).await.json().await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_is_worth_what_its_maker_is() {
    let farm = TestFarm::start(On::any()).await;
    let (admin, ada) = (Asking::new(&farm), user(&farm, "ada", true).await);
    user(&farm, "bob", false).await;
    let mut links = vec![];
    for maker in [&ada, &admin] {
        let made: Value = maker.post("/api/v1/users/bob/invitation", json!({})).await.json().await.unwrap();
        links.push(made["link"].as_str().unwrap().to_owned());
    }
    assert_eq!(admin.request(Method::DELETE, "/api/v1/users/ada").send().await.unwrap().status(), 204);
    let mut opened = vec![];
    for link in &links {
        opened.push(admin.http.post(link).send().await.unwrap().status().as_u16());
    }
    assert_eq!(opened, [404, 303]);
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_see_tokens_and_take_them_back() {
    let farm = TestFarm::start(On::any()).await;
    let (admin, ann) = (Asking::new(&farm), user(&farm, "ann", false).await);
    let tokens: Vec<Token> = admin.get("/api/v1/tokens?user=ann").await.json().await.unwrap();
    assert_eq!((tokens.len(), tokens[0].user.as_str(), tokens[0].name.as_str()), (1, "ann", "of ann"));
    assert_eq!(ann.all("/api/v1/tokens?user=ann").await.len(), 1);
    for at in ["/api/v1/tokens?user=admin", "/api/v1/identities?user=admin", "/api/v1/audit"] {
        assert_eq!(ann.get(at).await.status(), StatusCode::FORBIDDEN, "{at}");
    }
    assert_eq!(admin.get("/api/v1/tokens?user=nobody").await.status(), StatusCode::NOT_FOUND);
    let page = farm.page("/people/ann").await;
    assert!(page.contains("of ann") && page.contains(&format!("/people/ann/tokens/{}/drop", tokens[0].id)), "{page}");
    let identity = Identity { user: "ann".parse().unwrap(), issuer: "x".into(), subject: "y".into(), created: 0 };
    let unlinked = admin.request(Method::DELETE, "/api/v1/identities").json(&identity).send().await.unwrap();
    assert_eq!(unlinked.status(), StatusCode::NOT_FOUND);
    let dropped = admin.request(Method::DELETE, &format!("/api/v1/tokens/{}", tokens[0].id)).send().await.unwrap();
    assert_eq!(dropped.status(), StatusCode::NO_CONTENT);
    assert_eq!(ann.get("/api/v1/me").await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_opened_closed_and_weighed() {
    let farm = TestFarm::start(On::any()).await;
    let (admin, ann, bob) = (Asking::new(&farm), user(&farm, "ann", false).await, user(&farm, "bob", false).await);
    let (user, _) = farm.farm.db.user_named("ann").await.unwrap().unwrap();
    farm.farm.join("default".parse().unwrap(), user.id, Some(Role::Owner), "admin").await.unwrap();
    let change = async |who: &Asking, change: Value| {
        who.request(Method::PUT, "/api/v1/projects/default").json(&change).send().await.unwrap().status().as_u16()
    };
    let cases = [
        (&bob, json!({ "open": false }), 403),
        (&ann, json!({ "weight": 5 }), 403),
        (&ann, json!({ "open": false }), 204),
        (&bob, json!({ "open": true }), 404),
        (&admin, json!({ "weight": 0 }), 400),
        (&admin, json!({ "weight": 7 }), 204),
        (&admin, json!({ "wait": 7 }), 422),
    ];
    for (who, wanted, status) in cases {
        assert_eq!(change(who, wanted.clone()).await, status, "{wanted}");
    }
    assert_eq!(bob.all("/api/v1/projects").await, [] as [Value; 0]);
    let project = ann.all("/api/v1/projects").await.remove(0);
    assert_eq!((project["open"].as_bool(), project["weight"].as_u64()), (Some(false), Some(7)));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_did_what_is_found_page_by_page_and_not_filled_by_strangers() {
    let farm = TestFarm::start(On::any()).await;
    let (admin, ann) = (Asking::new(&farm), user(&farm, "ann", false).await);
    for number in 0..130 {
        let token = json!({ "name": format!("t{number}"), "scopes": ["read"] });
        assert_eq!(ann.post("/api/v1/tokens", token).await.status(), StatusCode::CREATED);
    }
    // From everywhere at once: another name each time.
    let guess = async |name: String| {
        let request = ann.http.post(format!("{}/login", ann.server)).body(format!("name={name}&password=x"));
        let answer = request.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    };
    for number in 0..70 {
        guess(format!("nobody{number}")).await;
    }
    assert_eq!(admin.all("/api/v1/audit?what=wrong%20password").await.len(), 60);
    farm.turn(60_000);
    guess("nobody".into()).await;
    assert_eq!(admin.all("/api/v1/audit?what=wrong%20password").await.len(), 61);

    // Page by page to the beginning.
    let (mut before, mut subjects) = (String::new(), vec![]);
    loop {
        let page = admin.all(&format!("/api/v1/audit?who=ann&what=make%20token&limit=50{before}")).await;
        let Some(last) = page.last() else { break };
        before = format!("&before={}", last["id"].as_str().unwrap());
        subjects.extend(page.iter().map(|line| line["subject"].as_str().unwrap().to_owned()));
    }
    let wanted: Vec<String> = (0..130).rev().map(|number| format!("t{number}")).collect();
    assert_eq!(subjects[..130], wanted);
    let page = farm.page("/audit?who=ann").await;
    let earlier = page.split("<a href=\"").find_map(|rest| rest.split_once("\">Earlier")).unwrap().0;
    assert!(page.contains("t129") && !page.contains("t10<"), "{page}");
    let earlier = farm.page(&earlier.replace("&amp;", "&")).await;
    assert!(earlier.contains("t10<") && !earlier.contains("t129"), "{earlier}");
}
