//! The pages as a person meets them: a real browser, with script and without.

use std::time::{Duration, Instant};

use crate::common::{On, TestFarm, TestNode};
use kiln_farm_api::{Lease, Tell};
use kiln_farm_server::decide::Terms;
use kiln_model::{Arch, Digest, Event, EventKind, FaultKind, StageId, StageKind};
use kiln_testkit::Browser;
use serde_json::json;

const RECIPE: &str = "edition = 1\nname = \"edge\"\n\n[base]\ndistribution = \"debian\"\nrelease = \"13\"\n\n[[output]]\nformat = \"tar\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn from_the_first_link_to_a_live_build() {
    let mut farm = TestFarm::start(On::any()).await;
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
    node.tell(&lease, 1, &[COLOURED]).await.unwrap();
    browser.until("document.querySelector('kiln-log .a31')?.innerText == 'red'").await;
    let dressed = "return [...document.querySelectorAll('kiln-log .row:last-child span')].filter((span) => span.innerText)\
                   .map((span) => [span.innerText, span.className, span.style.color, span.style.backgroundColor].join('|'))";
    let wanted = [
        "[node] |||",
        "red|a1 a31||",
        "still red|a31||",
        " plain|||",
        "1|a31||",
        "208||rgb(255, 135, 0)|",
        "on|b34|rgb(1, 2, 3)|",
        " <b>not bold</b>|||",
    ];
    assert_eq!(browser.script(dressed).await, json!(wanted));
    assert_eq!(browser.script("return document.querySelector('kiln-log b')").await, json!(null), "text stays text");
    let count = 20_000;
    tell_lines(node, &lease, 2, count, "line").await;
    browser
        .until(&format!("document.querySelector('kiln-log .window').innerText.includes('line {}')", count - 1))
        .await;
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
    browser.until("document.querySelectorAll('kiln-log .found .row').length == 11").await;
    let found = "return [...document.querySelectorAll('kiln-log .found .row')].map((row) => row.innerText.replace(/^[0-9:.]{12}/, ''))";
    let wanted = std::iter::once(1234).chain(12_340..12_350).map(|line| format!("[node] line {line}"));
    assert_eq!(browser.script(found).await, json!(wanted.collect::<Vec<_>>()));
    // A found line leads to its place in the whole log.
    browser.press("kiln-log .found .row:last-child a").await;
    browser.until("location.hash.startsWith('#e') && document.querySelector('kiln-log .window')?.innerText.includes('line 12350')").await;
    assert_eq!(
        browser.script("return document.querySelector(location.hash).innerText").await,
        json!("[node] line 12349")
    );
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

/// Bold and red, red alone, one of the 16, one of the 256, any colour upon one of the 16.
const COLOURED: &str = "\u{1b}[1;31mred\u{1b}[22mstill red\u{1b}[0m plain\u{1b}[38;5;1m1\u{1b}[38;5;208m208\
                        \u{1b}[38:2::1:2:3;44mon\u{1b}[4:0;58;5;1m\u{1b}[>4;2m\u{1b}[0m <b>not bold</b>";

/// Tells so many lines, numbered from zero, from that event on.
async fn tell_lines(node: &TestNode, lease: &Lease, first: u64, count: u64, text: &str) {
    for from in (0..count).step_by(2000) {
        let lines: Vec<String> = (from..count.min(from + 2000)).map(|line| format!("{text} {line}")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        node.tell(lease, first + from, &lines).await.unwrap();
    }
}

/// A log of `KILN_LOG_MB` megabytes, 200 where it is asked for by hand: any place of it shows at once, and few rows are drawn.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_log_is_in_sight_wherever_one_looks() {
    let megabytes: u64 = std::env::var("KILN_LOG_MB").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let terms = Terms { output: 1 << 30, ..Terms::default() };
    let mut farm = TestFarm::with(On::any(), terms).await;
    farm.enrol("n1", &[Arch::Amd64]).await;
    let build = farm.submit("edge", &["image"]).await;
    let node = farm.nodes.get_mut("n1").unwrap();
    let lease = node.poll(1, 0).await.unwrap().begin.remove(0);
    let count = megabytes * 10_000;
    tell_lines(node, &lease, 1, count, &"x".repeat(90)).await;
    let browser = Browser::start().await;
    enter(&browser, &farm).await;
    browser.open(&format!("http://{}/builds/{}", farm.address, build.id)).await;
    let shows = |line: u64| format!("document.querySelector('kiln-log .window')?.innerText.includes('x {line}')");
    browser.until(&shows(count - 1)).await;
    let mut slowest = Duration::ZERO;
    for part in [0, 1, 2, 3, 4] {
        let place = "const log = document.querySelector('kiln-log .window'); log.scrollTop =";
        let began = Instant::now();
        browser.script(&format!("{place} (log.scrollHeight - log.clientHeight) * {part} / 4")).await;
        // What is in the middle of the window is what is as far in the log.
        let seen = "(() => { const rows = [...document.querySelectorAll('kiln-log .row')].map((row) => /x (\\d+)$/.exec(row.innerText))\
                    .filter(Boolean).map((found) => Number(found[1])); return rows.length > 5 && ";
        let (from, to) = (count * part / 4, count * part / 4);
        browser
            .until(&format!("{seen} Math.min(...rows) <= {to} + 200 && Math.max(...rows) >= {from} - 200 }})()"))
            .await;
        slowest = slowest.max(began.elapsed());
    }
    let drawn = browser.script("return document.querySelectorAll('kiln-log .row').length").await;
    assert!(drawn.as_u64().unwrap() < 200, "only what is in sight is drawn: {drawn}");
    let heap = browser.script("return performance.memory.usedJSHeapSize").await.as_u64().unwrap();
    println!("{megabytes} MB: a place shows after {slowest:?} at most, the page takes {} MB", heap >> 20);
    assert!(heap < 64 << 20, "the page keeps what is in sight: {heap} bytes");
}

/// A page goes on where its server went away and came back, and says so where it is let in no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_outlives_its_server() {
    let mut farm = TestFarm::start(On::any()).await;
    farm.enrol("n1", &[Arch::Amd64]).await;
    let build = farm.submit("edge", &["image"]).await;
    let lease = farm.nodes.get_mut("n1").unwrap().poll(1, 0).await.unwrap().begin.remove(0);
    tell_lines(&farm.nodes["n1"], &lease, 1, 5, "before").await;
    let browser = Browser::start().await;
    enter(&browser, &farm).await;
    browser.open(&format!("http://{}/builds/{}", farm.address, build.id)).await;
    browser.until("document.querySelector('kiln-log .window')?.innerText.includes('before 4')").await;
    farm.again(|_| ()).await;
    farm.nodes.get_mut("n1").unwrap().poll(0, 0).await.unwrap();
    tell_lines(&farm.nodes["n1"], &lease, 6, 5, "after").await;
    browser.until("document.querySelector('kiln-log .window').innerText.includes('after 4')").await;
    let lines = "return [...document.querySelectorAll('kiln-log .row')].sort((one, other) => one.offsetTop - other.offsetTop)\
                 .map((row) => row.innerText).filter((text) => /before|after/.test(text)).map((text) => text.replace(/.*(before|after)/, '$1'))";
    let wanted: Vec<String> =
        ["before", "after"].iter().flat_map(|word| (0..5).map(move |line| format!("{word} {line}"))).collect();
    assert_eq!(browser.script(lines).await, json!(wanted), "each once, in order");

    // What is told anew of the build leaves whoever goes by keyboard where they were, and times as they read them.
    browser
        .script("const button = document.querySelector('#summary button'); button.focus(); button.old = true; renew()")
        .await;
    browser.until("!document.querySelector('#summary button').old").await;
    assert_eq!(browser.script("return document.activeElement.matches('#summary button')").await, json!(true));
    assert_eq!(browser.script("return document.querySelectorAll('#summary time:not([title])').length").await, json!(0));

    farm.nodes.get_mut("n1").unwrap().end(&lease, None).await.unwrap();
    browser.until("document.querySelector('#summary').innerText.includes('done')").await;

    let build = farm.submit("edge", &["image"]).await;
    browser.open(&format!("http://{}/builds/{}", farm.address, build.id)).await;
    browser.until("/^\\d+ entries$/.test(document.querySelector('kiln-log [role=status]')?.innerText)").await;
    browser.script("return fetch('/logout', { method: 'POST' }).then(() => true)").await;
    farm.again(|_| ()).await;
    browser.until("document.querySelector('kiln-log [role=status]').innerText.includes('does not answer')").await;
}

/// Who looks at a build that has ended sees that it runs again, and who looks for something in its log sees what comes of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_the_end_and_what_is_sought() {
    let mut farm = TestFarm::start(On::any()).await;
    farm.enrol("n1", &[Arch::Amd64]).await;
    let build = farm.submit("edge", &["image"]).await;
    let node = farm.nodes.get_mut("n1").unwrap();
    let lease = node.poll(1, 0).await.unwrap().begin.remove(0);
    let stages = vec![StageKind::Tools, StageKind::Packages];
    let begun = EventKind::StageStarted { stage: StageKind::Packages, id: StageId(Digest::of("packages")) };
    let kinds = [EventKind::Started { name: "edge".into(), stages }, begun];
    let events = (1..).zip(kinds).map(|(seq, kind)| Event { seq, at: seq, kind }).collect();
    node.client.tell(lease.task, &Tell { epoch: lease.epoch, began: 0, events }).await.unwrap();
    tell_lines(node, &lease, 3, 700, "line").await;
    node.end(&lease, Some(FaultKind::Package)).await.unwrap();
    node.forget(&lease);

    // A stage leads to its first line, which is not among the last 500: with script on this page, without on one that has it.
    let page = farm.page(&format!("/builds/{}", build.id)).await;
    assert!(!page.contains("packages: begins") && page.contains("Entries 207 to 706 of 706"), "{page}");
    let way = page.split("class=\"line\" href=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let (path, hash) = way.split_once('#').unwrap();
    let there = farm.page(path).await;
    assert!(there.contains(&format!("<span id=\"{hash}\">packages: begins")), "{there}");
    let later = there.split("href=\"").find_map(|rest| rest.split_once("#log\">Later")).unwrap().0;
    assert!(farm.page(later).await.contains("line 699"), "{later}");
    let browser = Browser::start().await;
    enter(&browser, &farm).await;
    browser.open(&format!("http://{}/builds/{}", farm.address, build.id)).await;
    browser.until("document.querySelector('#state').innerText == 'failed'").await;
    browser.script("window.same = true").await;
    browser.press("a.line").await;
    browser.until("document.querySelector('kiln-log .window').innerText.includes('packages: begins')").await;

    farm.admin.retry(build.id).await.unwrap();
    browser.until("document.querySelector('.task .state').innerText == 'queued'").await;
    let node = farm.nodes.get_mut("n1").unwrap();
    let lease = node.poll(1, 0).await.unwrap().begin.remove(0);
    browser.until("document.querySelector('.task .state').innerText == 'running'").await;
    assert_eq!(browser.script("return window.same").await, json!(true), "the page was never loaded again");

    browser.open(&format!("http://{}/builds/{}?q=sought&stage=", farm.address, build.id)).await;
    browser.until("document.querySelector('kiln-log').found?.childElementCount === 0").await;
    node.tell(&lease, 1, &["nothing", "\u{1b}[31msought\u{1b}[0m", "nothing"]).await.unwrap();
    browser.until("document.querySelector('kiln-log .found .row:only-child .a31')?.innerText == 'sought'").await;
    node.end(&lease, None).await.unwrap();
    browser.until("document.querySelector('#state').innerText == 'done'").await;
    browser.until("document.querySelector('kiln-log').source.readyState === EventSource.CLOSED").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

/// Opens the pages by the link of the first start.
async fn enter(browser: &Browser, farm: &TestFarm) {
    browser.open(&farm.welcome).await;
    browser.press("main button").await;
    browser.until("location.pathname == '/account'").await;
}

const TAB: &str = "\u{E004}";
const ENTER: &str = "\u{E007}";

/// By keys alone, and in a browser that runs no scripts.
#[tokio::test(flavor = "multi_thread")]
async fn by_keyboard_and_without_script() {
    let mut farm = TestFarm::start(On::any()).await;
    farm.enrol("n1", &[Arch::Amd64]).await;
    let (browser, server) = (Browser::start().await, format!("http://{}", farm.address));
    browser.without_script().await;
    browser.open(&farm.welcome).await;
    browser.until("document.activeElement?.matches('main button')").await;
    browser.keys(ENTER).await;
    browser.until("location.pathname == '/account'").await;
    reach(&browser, "[name=password]").await;
    browser.keys(&format!("correct horse{ENTER}")).await;
    browser.until("location.pathname == '/login' && document.activeElement?.matches('[name=name]')").await;
    browser.keys(&format!("admin{TAB}correct horse{ENTER}")).await;
    browser.until("location.pathname == '/'").await;

    // The first key leads past what stands on every page.
    browser.keys(TAB).await;
    browser
        .until("document.activeElement.matches('.skip') && document.activeElement.getBoundingClientRect().left >= 0")
        .await;
    browser.open(&format!("{server}/submit")).await;
    reach(&browser, "#recipe").await;
    browser.keys("edition = 2").await;
    reach(&browser, "[action='/submit'] button").await;
    browser.keys(ENTER).await;
    browser.until("document.querySelector('#mistakes')?.innerText.includes('edition')").await;
    browser.script(&format!("document.querySelector('#recipe').value = {RECIPE:?}")).await;
    reach(&browser, "[action='/submit'] button").await;
    browser.keys(ENTER).await;
    browser
        .until("location.pathname.startsWith('/builds/') && document.querySelector('#state').innerText == 'queued'")
        .await;
    reach(&browser, "[action$='/cancel'] button").await;
    let outline = browser.script("return getComputedStyle(document.activeElement).outlineStyle").await;
    assert_eq!(outline, json!("solid"), "one sees where one is");
    browser.keys(ENTER).await;
    browser.until("document.querySelector('#state').innerText == 'cancelled'").await;
    assert_eq!(browser.script("return customElements.get('kiln-log') === undefined").await, json!(true));
}

/// Goes from link to field to button until it is there.
async fn reach(browser: &Browser, selector: &str) {
    for _ in 0..60 {
        if browser.script(&format!("return document.activeElement.matches({selector:?})")).await == json!(true) {
            return;
        }
        browser.keys(TAB).await;
    }
    panic!("no key leads to `{selector}`");
}

/// Text stands out from its ground as WCAG 2.2 asks of level AA, by day and by night.
#[tokio::test(flavor = "multi_thread")]
async fn dark_and_light_can_be_read() {
    let mut farm = TestFarm::start(On::any()).await;
    farm.enrol("n1", &[Arch::Amd64]).await;
    let build = farm.submit("edge", &["image", "other"]).await;
    let node = farm.nodes.get_mut("n1").unwrap();
    let lease = node.poll(1, 0).await.unwrap().begin.remove(0);
    let basic: Vec<String> =
        (30..38).chain(90..98).map(|code| format!("\u{1b}[{code}mcolour {code}\u{1b}[0m")).collect();
    node.tell(&lease, 1, &basic.iter().map(String::as_str).collect::<Vec<_>>()).await.unwrap();
    let (browser, server) = (Browser::start().await, format!("http://{}", farm.address));
    enter(&browser, &farm).await;
    let mut grounds = vec![];
    for scheme in ["light", "dark"] {
        browser.prefer(scheme).await;
        for path in ["/", &format!("/builds/{}", build.id), "/submit", "/queue", "/nodes", "/projects", "/account"] {
            browser.open(&format!("{server}{path}")).await;
            if path.starts_with("/builds") {
                browser.until("document.querySelector('kiln-log .a97')").await;
            }
            assert_eq!(browser.script(PALE).await, json!([]), "{scheme} {path}");
        }
        grounds.push(browser.script("return getComputedStyle(document.body).backgroundColor").await);
    }
    assert_ne!(grounds[0], grounds[1]);
}

/// Returns the texts of a page whose contrast is less than 4.5 to 1.
const PALE: &str = "
    const light = (colour) => {
      const [red, green, blue] = colour.slice(0, 3).map((part) => part / 255)
        .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
      return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const ground = (element) => {
      for (let at = element; at; at = at.parentElement) {
        const colour = parts(getComputedStyle(at).backgroundColor);
        if (colour.length === 3 || colour[3] === 1) return colour;
      }
      return [255, 255, 255];
    };
    const own = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    return [...document.body.querySelectorAll('*')].filter((one) => own(one) && one.checkVisibility() && !one.matches('script, style, noscript, option'))
      .map((one) => {
        const [text, behind] = [light(parts(getComputedStyle(one).color)), light(ground(one))];
        const ratio = (Math.max(text, behind) + 0.05) / (Math.min(text, behind) + 0.05);
        return [ratio, `${ratio.toFixed(2)} ${one.tagName}.${one.className}: ${one.innerText.slice(0, 40)}`];
      })
      .filter(([ratio]) => ratio < 4.5).map(([, told]) => told);";

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
    let mut farm = TestFarm::start(On::any()).await;
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
