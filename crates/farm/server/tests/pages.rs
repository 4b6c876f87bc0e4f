//! The pages as a person meets them: a real browser, with script and without.

mod common;

use common::{On, TestFarm};
use kiln_model::Arch;
use kiln_testkit::Browser;
use serde_json::json;

const RECIPE: &str = "edition = 1\nname = \"edge\"\n\n[base]\ndistribution = \"debian\"\nrelease = \"13\"\n\n[[output]]\nformat = \"tar\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn from_the_first_link_to_a_live_build() {
    let mut farm = TestFarm::start(On::Sqlite).await;
    farm.enrol("n1", &[Arch::Amd64]).await;
    let (browser, server) = (Browser::start().await, format!("http://{}", farm.address));

    // Nobody in particular is shown the door; the link of the first start opens it, once.
    browser.open(&server).await;
    browser.until("location.pathname == '/login'").await;
    browser.open(&farm.welcome).await;
    browser.press("main button").await;
    browser.until("location.pathname == '/account' && document.body.innerText.includes('no password yet')").await;
    browser.script("document.querySelector('[name=password]').value = 'correct horse'").await;
    browser.press("[action='/account/password'] button").await;
    browser.until("location.pathname == '/login'").await;
    log_in(&browser).await;
    browser.open(&farm.welcome).await;
    browser.press("main button").await;
    browser.until("document.body.innerText.includes('it was used before')").await;

    // A recipe with a mistake: the line is named, and the link leads to it.
    browser.open(&format!("{server}/submit")).await;
    fill(&browser, &RECIPE.replace("\"13\"", "\"99\"")).await;
    browser.until("document.querySelector('#mistakes')?.innerText.includes('kiln knows no release')").await;
    browser.press("#mistakes a").await;
    let marked = "const area = document.activeElement; return area.value.slice(area.selectionStart, area.selectionEnd)";
    assert_eq!(browser.script(marked).await, json!("release = \"99\""));
    fill(&browser, RECIPE).await;
    browser.until("location.pathname.startsWith('/builds/')").await;
    browser.until("document.querySelector('#state').innerText == 'queued'").await;

    // A node takes it: what it tells shows without a reload.
    browser.script("window.same = true").await;
    let node = farm.nodes.get_mut("n1").unwrap();
    let lease = node.poll(1, 0).await.unwrap().begin.remove(0);
    browser.until("document.querySelector('#state').innerText == 'running'").await;
    node.tell(&lease, 1, &["\u{1b}[31mred\u{1b}[0m plain <b>not bold</b>"]).await.unwrap();
    browser.until("document.querySelector('kiln-log .a31')?.innerText == 'red'").await;
    assert_eq!(browser.script("return document.querySelector('kiln-log b')").await, json!(null), "text stays text");
    let lines: Vec<String> = (0..20_000).map(|line| format!("line {line}")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    for (at, part) in lines.chunks(2000).enumerate() {
        node.tell(&lease, 2 + at as u64 * 2000, part).await.unwrap();
    }
    browser.until("document.querySelector('kiln-log .window').innerText.includes('line 19999')").await;
    let drawn = browser.script("return document.querySelectorAll('kiln-log .row').length").await;
    assert!(drawn.as_u64().unwrap() < 200, "only what is in sight is drawn: {drawn}");
    browser.script("document.querySelector('kiln-log .window').scrollTop = 0").await;
    browser.until("document.querySelector('kiln-log .window').innerText.includes('submitted by admin')").await;
    node.end(&lease, None).await.unwrap();
    browser.until("document.querySelector('#state').innerText == 'done'").await;
    assert_eq!(browser.script("return window.same").await, json!(true), "the page was never loaded again");

    // Search finds lines on the server; keys reach what matters.
    browser.script("document.querySelector('#log + form [name=q]').value = 'LINE 1234'").await;
    browser.press("#log + form button").await;
    browser.until("[...document.querySelectorAll('kiln-log pre span')].length == 11").await;
    browser.script("document.body.focus()").await;
    let reached = "return [...document.querySelectorAll('a, button, input, select, textarea, [tabindex]')]\
                   .filter((one) => one.tabIndex < 0).map((one) => one.outerHTML)";
    assert_eq!(browser.script(reached).await, json!([]));
    browser.open(&format!("{server}/?q=EDG&state=done")).await;
    browser.until("document.querySelector('tbody a').innerText == 'edge'").await;
    // What was meant to go wrong: the mistakes, and the link that was used.
    let meant = |line: &String| line.contains("422") || line.contains("404");
    let complaints: Vec<_> = browser.complaints().await.into_iter().filter(|line| !meant(line)).collect();
    assert_eq!(complaints, Vec::<String>::new());
}

async fn log_in(browser: &Browser) {
    browser.script("document.querySelector('[name=name]').value = 'admin'; document.querySelector('[name=password]').value = 'correct horse'").await;
    browser.press("main button").await;
    browser.until("location.pathname == '/'").await;
}

async fn fill(browser: &Browser, recipe: &str) {
    browser.script(&format!("document.querySelector('#recipe').value = {recipe:?}")).await;
    browser.press("[action='/submit'] button").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_script_the_pages_say_the_same() {
    let mut farm = TestFarm::start(On::Sqlite).await;
    farm.enrol("n1", &[Arch::Amd64]).await;
    let build = farm.submit("edge", &["image"]).await;
    let node = farm.nodes.get_mut("n1").unwrap();
    let lease = node.poll(1, 0).await.unwrap().begin.remove(0);
    node.tell(&lease, 1, &["<script>alert(1)</script>"]).await.unwrap();
    let ask = |path: String| {
        let request = reqwest::Client::new().get(format!("http://{}{path}", farm.address)).bearer_auth(&farm.token);
        async { request.send().await.unwrap().text().await.unwrap() }
    };
    let page = ask(format!("/builds/{}", build.id)).await;
    for wanted in ["running", "image: goes to node n1", "&lt;script&gt;alert(1)", "On n1", "Cancel"] {
        assert!(page.contains(wanted), "{wanted}: {page}");
    }
    for (path, wanted) in
        [("/queue", "Nothing waits"), ("/nodes", "n1"), ("/projects", "default"), ("/account", "first start")]
    {
        assert!(ask(path.into()).await.contains(wanted), "{path}");
    }
}
