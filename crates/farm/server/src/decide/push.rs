//! What a forge says, and whether anything is to be built for it.

use glob::{MatchOptions, Pattern};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// What is to become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is not signed with the source's secret.
    Refuse,
    /// Nobody reads this.
    Garbled(String),
    /// Nothing is to be built.
    Ignore(String),
    /// A branch has a new commit; `base` is the one before, where there was one.
    Build { branch: String, commit: String, base: Option<String> },
}

/// Headers that hold the HMAC-SHA256 of the body, and what stands before its digits: GitHub's, Gitea's, Forgejo's.
const SIGNATURES: [(&str, &str); 3] =
    [("x-hub-signature-256", "sha256="), ("x-gitea-signature", ""), ("x-forgejo-signature", "")];
/// The header that holds the secret itself: GitLab's.
const TOKEN: &str = "x-gitlab-token";
/// Headers that say what it is about.
const EVENTS: [&str; 4] = ["x-github-event", "x-gitlab-event", "x-gitea-event", "x-forgejo-event"];

/// What all of them say of a push, among much else.
#[derive(Debug, Deserialize)]
struct Said {
    r#ref: String,
    #[serde(default)]
    before: Option<String>,
    after: String,
}

/// Judges a word of a forge. `header` returns a header's value by its lowercase name.
pub fn judge<'a>(header: impl Fn(&str) -> Option<&'a str>, body: &[u8], secret: &str, branches: &[String]) -> Verdict {
    if !signed(&header, body, secret) {
        return Verdict::Refuse;
    }
    match EVENTS.iter().find_map(|name| header(name)) {
        Some("push" | "Push Hook") => {}
        Some(other) => return Verdict::Ignore(format!("a `{other}` builds nothing; a push does")),
        None => return Verdict::Garbled("no header says what this is about, as `X-GitHub-Event` does".into()),
    }
    let Said { r#ref, before, after } = match serde_json::from_slice(&payload(body)) {
        Ok(said) => said,
        Err(error) => return Verdict::Garbled(format!("this is no push: {error}")),
    };
    let Some(branch) = r#ref.strip_prefix("refs/heads/") else {
        return Verdict::Ignore(format!("`{ref}` is no branch", r#ref = r#ref.escape_debug()));
    };
    if nothing(&after) {
        return Verdict::Ignore(format!("branch `{}` is gone", branch.escape_debug()));
    }
    if !is_branch(branch) || !is_commit(&after) {
        return Verdict::Garbled("this is no branch, or no commit of git".into());
    }
    if !wanted(branches, branch) {
        return Verdict::Ignore(format!("branch `{branch}` is none that is built"));
    }
    let base = before.filter(|before| is_commit(before) && !nothing(before));
    Verdict::Build { branch: branch.to_owned(), commit: after, base }
}

/// Whether whoever says it knows the secret.
fn signed<'a>(header: &impl Fn(&str) -> Option<&'a str>, body: &[u8], secret: &str) -> bool {
    if let Some(token) = header(TOKEN) {
        let [given, known] = [token, secret].map(|text| Sha256::digest(text.as_bytes()));
        return given.ct_eq(&known).into();
    }
    let given = SIGNATURES.iter().find_map(|(name, before)| header(name)?.strip_prefix(before));
    let Some(bytes) = given.and_then(bytes) else { return false };
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key of any length");
    mac.update(body);
    mac.verify_slice(&bytes).is_ok()
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let digits = Some(digits).filter(|digits| digits.len() == 64 && digits.is_ascii())?;
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()).collect()
}

/// Returns the JSON, which GitHub also sends as a form.
fn payload(body: &[u8]) -> Vec<u8> {
    if !body.starts_with(b"payload=") {
        return body.to_owned();
    }
    url::form_urlencoded::parse(body).next().map(|(_, value)| value.into_owned().into_bytes()).unwrap_or_default()
}

/// Whether a branch is among those that patterns name; `*` stays within a part between `/`.
pub fn wanted(patterns: &[String], name: &str) -> bool {
    let options =
        MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };
    let matches = |pattern: &Pattern| pattern.matches_with(name, options);
    patterns.iter().filter_map(|pattern| Pattern::new(pattern).ok()).any(|pattern| matches(&pattern))
}

/// Whether git takes it for a branch, and for nothing else.
pub fn is_branch(name: &str) -> bool {
    let odd = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    let part =
        |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock") && !part.ends_with('.');
    !name.starts_with('-')
        && name.len() <= 250
        && name != "@"
        && !name.contains(odd)
        && !name.contains("..")
        && !name.contains("@{")
        && name.split('/').all(part)
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
}

/// What stands for no commit: zeros.
fn nothing(commit: &str) -> bool {
    commit.bytes().all(|c| c == b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "It's a Secret to Everybody";
    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    const ZERO: &str = "0000000000000000000000000000000000000000";

    fn body(r#ref: &str, before: &str, after: &str) -> String {
        format!(r#"{{"ref":"{ref}","before":"{before}","after":"{after}","commits":[],"pusher":{{"name":"ann"}}}}"#)
    }

    fn digits(body: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(body.as_bytes());
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn judged(headers: &[(&str, &str)], body: &str) -> Verdict {
        let header = |wanted: &str| headers.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
        judge(header, body.as_bytes(), SECRET, &["main".into(), "release/*".into()])
    }

    #[test]
    fn the_signature_of_the_forges_own_example() {
        // docs.github.com, "Validating webhook deliveries".
        let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let header = |name: &str| (name == "x-hub-signature-256").then_some(signature);
        assert!(signed(&header, b"Hello, World!", SECRET));
        assert!(!signed(&header, b"Hello, World?", SECRET) && !signed(&header, b"Hello, World!", "another"));
    }

    #[test]
    fn every_forge_and_every_word() {
        let push = body("refs/heads/main", A, B);
        let (plain, github) = (digits(&push), format!("sha256={}", digits(&push)));
        let build = Verdict::Build { branch: "main".into(), commit: B.into(), base: Some(A.into()) };
        let sound: [&[(&str, &str)]; 4] = [
            &[("x-github-event", "push"), ("x-hub-signature-256", &github)],
            &[("x-gitlab-event", "Push Hook"), ("x-gitlab-token", SECRET)],
            &[("x-gitea-event", "push"), ("x-gitea-signature", &plain)],
            &[("x-forgejo-event", "push"), ("x-forgejo-signature", &plain)],
        ];
        for headers in sound {
            assert_eq!(judged(headers, &push), build, "{headers:?}");
        }
        let wrong: [&[(&str, &str)]; 6] = [
            &[("x-github-event", "push")],
            &[("x-github-event", "push"), ("x-hub-signature-256", &plain)],
            &[("x-github-event", "push"), ("x-hub-signature-256", "sha256=00")],
            &[("x-github-event", "push"), ("x-hub-signature-256", "sha256=äää")],
            &[("x-gitlab-event", "Push Hook"), ("x-gitlab-token", "It's a Secret to Nobody")],
            &[("x-gitlab-event", "Push Hook"), ("x-gitlab-token", "")],
        ];
        for headers in wrong {
            assert_eq!(judged(headers, &push), Verdict::Refuse, "{headers:?}");
        }
        let form = format!("payload={}", url::form_urlencoded::byte_serialize(push.as_bytes()).collect::<String>());
        let signature = format!("sha256={}", digits(&form));
        assert_eq!(judged(&[("x-github-event", "push"), ("x-hub-signature-256", &signature)], &form), build);
    }

    #[test]
    fn what_builds_nothing() {
        let said = |event: &str, body: &str| judged(&[("x-gitlab-event", event), ("x-gitlab-token", SECRET)], body);
        let ignored = [
            ("ping", "{}".to_owned()),
            ("Tag Push Hook", body("refs/tags/v1", ZERO, B)),
            ("push", body("refs/tags/v1", ZERO, B)),
            ("push", body("refs/heads/main", A, ZERO)),
            ("push", body("refs/heads/other", A, B)),
            ("push", body("refs/heads/release/1/2", A, B)),
        ];
        for (event, body) in ignored {
            assert!(matches!(said(event, &body), Verdict::Ignore(_)), "{event} {body}");
        }
        for body in ["", "{}", "[]", &body("refs/heads/main", A, "HEAD"), &body("refs/heads/--upload-pack=x", A, B)] {
            assert!(matches!(said("push", body), Verdict::Garbled(_)), "{body}");
        }
        assert!(matches!(judged(&[("x-gitlab-token", SECRET)], "{}"), Verdict::Garbled(_)));
        let first = Verdict::Build { branch: "release/1".into(), commit: B.into(), base: None };
        assert_eq!(said("push", &body("refs/heads/release/1", ZERO, B)), first);
    }

    #[test]
    fn branches() {
        for name in ["main", "release/1.2", "a-b_c", "ä", "a@b"] {
            assert!(is_branch(name), "{name}");
        }
        for name in [
            "", "-a", "a..b", "a b", "a//b", "/a", "a/", ".a", "a/.b", "a.lock", "a.", "a~1", "a^", "a:b", "@{1}",
            "a\nb", "@",
        ] {
            assert!(!is_branch(name), "{name}");
        }
    }
}
