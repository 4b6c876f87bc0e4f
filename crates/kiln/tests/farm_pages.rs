//! What people see in a browser of a build that a node of kiln's performs, while it does.

mod common;

use std::fs;

use common::Done;
use common::farm::Farm;
use kiln_farm_api::Build;
use kiln_testkit::{Browser, eventually};
use serde_json::{Value, json};

/// Submits the recipe, and returns where its page is.
fn submit(farm: &Farm) -> String {
    let mut command = farm.bench.kiln(&["submit", "edge.toml", "--json"]);
    command.env("KILN_SERVER", farm.address()).args(["--token-file", "farm/admin.token"]);
    let said = Done::of(command.output().expect("kiln starts")).well().stdout;
    format!("{}/builds/{}", farm.address(), serde_json::from_str::<Build>(&said).expect("a build").id)
}

/// What the page says of each stage: its name, and how it came about.
const STAGES: &str = "return [...document.querySelectorAll('.stages li')].map((stage) => \
                      [stage.querySelector('.name').innerText, stage.querySelector('.took')?.innerText === 'from the cache'])";

#[test]
fn a_build_as_it_happens() {
    let farm = Farm::start();
    let _mirror = farm.recipe();
    farm.with_script("echo the first; sleep 8; echo the second");
    let (first, second) = (submit(&farm), submit(&farm));
    let log = farm.bench.path("serve.log");
    let link = || {
        let said = fs::read_to_string(&log).unwrap();
        said.split_whitespace().find(|word| word.contains("/welcome/")).map(str::to_owned)
    };
    eventually("the first link is said", || link().is_some());
    let link = link().unwrap();
    farm.enrol("one");
    let browser = farm.runtime.block_on(async {
        let browser = Browser::start().await;
        browser.open(&link).await;
        browser.press("main button").await;
        browser.until("location.pathname == '/account'").await;
        browser.open(&first).await;
        browser.until("document.querySelector('#state').innerText == 'queued'").await;
        browser.until("document.querySelector('.task').innerText.includes('Next in the queue')").await;
        browser
            .script(
                "window.same = true; window.shown = []; new MutationObserver(() => {\
                        const state = document.querySelector('#state')?.innerText;\
                        if (state && window.shown.at(-1) !== state) window.shown.push(state); })\
                        .observe(document.querySelector('#summary'), { childList: true, subtree: true })",
            )
            .await;
        browser
    });
    let _node = farm.run_node("one", &[]);
    farm.runtime.block_on(async {
        // A line is here while the command that said it still runs.
        let said = "const said = document.querySelector('kiln-log .window').innerText";
        browser.until(&format!("(() => {{ {said}; return said.includes('] the first') && !said.includes('] the second') }})()")).await;
        browser.until("document.querySelector('#state').innerText == 'running'").await;
        browser.until("document.querySelector('#state').innerText == 'done'").await;
        browser.until("document.querySelector('kiln-log .window').innerText.includes('the build is done')").await;
        assert_eq!(browser.script("return [window.same, window.shown]").await, json!([true, ["running", "done"]]));
        let stages = browser.script(STAGES).await;
        let made = |stage: &Value| stage[1] == json!(false);
        assert!(stages.as_array().is_some_and(|all| all.len() > 3 && all.iter().all(made)), "{stages}");
        let files = "return [...document.querySelectorAll('#summary td:first-child a[download]')].map((link) => link.innerText)";
        let files = browser.script(files).await;
        assert!(files.as_array().unwrap().contains(&json!("edge.tar")), "{files}");

        // The same again has all of its stages from the cache.
        browser.open(&second).await;
        browser.until("document.querySelector('#state').innerText == 'done'").await;
        let again = browser.script(STAGES).await;
        let restored = again.as_array().unwrap().iter().filter(|stage| stage[1] == json!(true)).count();
        assert!(restored > 0, "{again}");
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    });
}
