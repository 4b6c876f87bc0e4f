//! A real Chromium without a screen, steered by WebDriver as W3C has it.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::free_port;

/// A browser with one page; it ends with this value.
pub struct Browser {
    http: reqwest::Client,
    session: String,
    driver: Child,
    /// What it keeps while it runs; removed with this value.
    folder: TempDir,
}

impl Browser {
    pub async fn start() -> Self {
        let (port, folder) = (free_port(), tempfile::tempdir().expect("a folder for the browser"));
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={port}")).env("TMPDIR", folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let driver = command.spawn().expect("chromedriver is there: scripts/setup --tests");
        let session = format!("http://127.0.0.1:{port}");
        let mut browser = Self { http: reqwest::Client::new(), session, driver, folder };
        let began = Instant::now();
        while browser.http.get(format!("{}/status", browser.session)).send().await.is_err() {
            assert!(began.elapsed() < Duration::from_secs(30), "chromedriver starts");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let words =
            ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1200,900"];
        let options = json!({"args": words, "binary": "/usr/bin/chromium"});
        let wanted = json!({"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}});
        let made = browser.call("session", json!({"capabilities": {"alwaysMatch": wanted}})).await;
        let id = made["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {made}")).to_owned();
        browser.session += &format!("/session/{id}");
        browser
    }

    async fn call(&self, verb: &str, body: Value) -> Value {
        let answer = self.http.post(format!("{}/{verb}", self.session)).body(body.to_string()).send().await;
        let text = answer.expect("chromedriver answers").text().await.expect("in words");
        let answer: Value = serde_json::from_str(&text).expect("which are JSON");
        assert!(answer["value"]["error"].is_null(), "{verb} {body}: {}", answer["value"]);
        answer["value"].clone()
    }

    pub async fn open(&self, url: &str) {
        self.call("url", json!({"url": url})).await;
    }

    /// Runs a script in the page and returns what it returns.
    pub async fn script(&self, script: &str) -> Value {
        self.call("execute/sync", json!({"script": script, "args": []})).await
    }

    /// Waits until an expression of the page is true.
    pub async fn until(&self, holds: &str) {
        let began = Instant::now();
        while self.script(&format!("return Boolean({holds})")).await != json!(true) {
            if began.elapsed() > Duration::from_secs(30) {
                let page = self.script("return document.body.innerText").await;
                panic!("never: {holds}\n{}\n{:?}", page.as_str().unwrap_or_default(), self.complaints().await);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Presses the first button that is found by a selector, as a click does.
    pub async fn press(&self, selector: &str) {
        self.script(&format!("document.querySelector({selector:?}).click()")).await;
    }

    /// Strikes keys one after the other, as a keyboard does, at what has the focus; `Tab` is `\u{E004}`, `Enter` `\u{E007}`.
    pub async fn keys(&self, keys: &str) {
        let strike = |key: char| [json!({"type": "keyDown", "value": key}), json!({"type": "keyUp", "value": key})];
        let all: Vec<Value> = keys.chars().flat_map(strike).collect();
        self.call("actions", json!({"actions": [{"type": "key", "id": "keyboard", "actions": all}]})).await;
    }

    /// Shows pages as whoever prefers `light` or `dark` ones sees them.
    pub async fn prefer(&self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.devtools("Emulation.setEmulatedMedia", json!({"features": features})).await;
    }

    /// Runs no scripts of pages from now on.
    pub async fn without_script(&self) {
        self.devtools("Emulation.setScriptExecutionDisabled", json!({"value": true})).await;
    }

    async fn devtools(&self, command: &str, params: Value) {
        self.call("goog/cdp/execute", json!({"cmd": command, "params": params})).await;
    }

    /// Returns what the browser complained of.
    pub async fn complaints(&self) -> Vec<String> {
        let said = self.call("se/log", json!({"type": "browser"})).await;
        let lines = said.as_array().into_iter().flatten();
        lines.filter_map(|line| Some(format!("{}: {}", line["level"].as_str()?, line["message"].as_str()?))).collect()
    }

    /// Returns a picture of the page, PNG in base64.
    pub async fn picture(&self) -> String {
        let answer = self.http.get(format!("{}/screenshot", self.session)).send().await.expect("chromedriver answers");
        let answer: Value = serde_json::from_str(&answer.text().await.expect("in words")).expect("which are JSON");
        answer["value"].as_str().expect("a picture").to_owned()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser ends with its session, and not with whoever drives it.
        let words = ["--silent", "--max-time", "10", "--request", "DELETE"];
        let _ = Command::new("curl").args(words).arg(&self.session).stdout(Stdio::null()).status();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
        // One that would not end has its profile in the folder.
        let _ = Command::new("pkill").args(["-KILL", "-f"]).arg(self.folder.path()).status();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_of_it_stays_behind() {
        let browser = Browser::start().await;
        let folder = browser.folder.path().to_owned();
        let works = || Command::new("pgrep").args(["--count", "-f"]).arg(&folder).output().expect("pgrep is there");
        assert!(works().status.success(), "its profile is in the folder");
        drop(browser);
        assert!(!works().status.success() && !folder.exists());
    }
}
