//! A repository's release file: of its mirrors, the first whose answer can be believed.

use kiln_family::deb::Keyring;
use kiln_family::deb::trust::{self, Policy, Verified};
use kiln_fetch::{Answer, Failure, shown};
use kiln_model::{Digest, Fault, FaultKind};
use kiln_recipe::spec::{Repository, Trust};
use kiln_store::Doc;

use crate::kiln::Kiln;

/// No release file is larger.
const LIMIT: u64 = 32 << 20;

/// A release file that may be believed.
pub(super) struct Believed {
    pub verified: Verified,
    /// The repository's mirrors, first the one that gave the release file: it has the indexes that go with it.
    pub mirrors: Vec<String>,
}

/// Why a mirror was passed over.
struct Refusal {
    fault: Fault,
    /// Whether it gave a release file at all.
    gave: bool,
}

/// Fetches a repository's release file from the first mirror whose answer is believed, and remembers its date.
pub(super) fn read(kiln: &Kiln, repository: &Repository) -> Result<Believed, Fault> {
    let (keyring, pinned) = keyring(&repository.trust)?;
    let (suite, valid_until) = (repository.suite.as_str(), repository.check_valid_until);
    // A snapshot is old on purpose.
    let last_seen = if valid_until { last_seen(kiln, repository)? } else { None };
    let policy = Policy { keyring: &keyring, pinned: &pinned, suite, now: kiln.config.now, valid_until, last_seen };
    let mut refusals = vec![];
    for (at, uri) in repository.uris.iter().enumerate() {
        match from_mirror(kiln, repository, uri, &policy) {
            Ok(verified) => {
                if let Some(date) = verified.release.date.filter(|_| valid_until) {
                    see(kiln, repository, date)?;
                }
                let mut mirrors = repository.uris.clone();
                mirrors[..=at].rotate_right(1);
                return Ok(Believed { verified, mirrors });
            }
            Err(Refusal { fault, .. }) if matches!(fault.kind(), FaultKind::Interrupted | FaultKind::Farm) => {
                return Err(fault);
            }
            Err(refusal) => refusals.push(refusal),
        }
    }
    Err(nobody(refusals))
}

/// Says why no mirror is believed: what was wrong with the first that gave anything, else with the first, which is the
/// one the user chose; and below it what was with all.
fn nobody(mut refusals: Vec<Refusal>) -> Fault {
    let lines: Vec<_> = refusals.iter().map(|refusal| format!("- {}", refusal.fault.chain())).collect();
    let first = refusals.iter().position(|refusal| refusal.gave).unwrap_or(0);
    match lines.as_slice() {
        [] => Fault::recipe("it has no address"),
        [_] => refusals.remove(first).fault,
        _ => refusals.remove(first).fault.detail(format!("no mirror helped:\n{}", lines.join("\n"))),
    }
}

fn from_mirror(kiln: &Kiln, repository: &Repository, uri: &str, policy: &Policy<'_>) -> Result<Verified, Refusal> {
    let failed = |error: kiln_fetch::Error| Refusal { fault: elsewhere(error, repository), gave: false };
    let mut answers = answers(kiln, repository, uri, true).map_err(failed)?;
    let mut judged = judge(repository, &answers, policy);
    // What was remembered was believed once, perhaps under other keys: it may stand in the way of something better.
    if judged.is_err() && !kiln.config.offline && answers.iter().any(|answer| answer.unchanged) {
        answers = self::answers(kiln, repository, uri, false).map_err(failed)?;
        judged = judge(repository, &answers, policy);
    }
    let told =
        |error: trust::Error| Refusal { fault: Fault::from(error).doing(format!("`{}`", shown(uri))), gave: true };
    let verified = judged.map_err(told)?;
    answers.iter().try_for_each(|answer| kiln.fetcher.remember(&kiln.store, answer)).map_err(failed)?;
    Ok(verified)
}

/// Says where a release file should be, where it is not.
fn elsewhere(error: kiln_fetch::Error, repository: &Repository) -> Fault {
    let missing = matches!(*error.failure, Failure::NotFound { .. });
    let fault = Fault::from(error);
    if !missing {
        return fault;
    }
    let file = dist_url("ADDRESS", &repository.suite, "InRelease");
    fault.hint(format!("is the mirror's address right, and does it keep this release? it must have `{file}`"))
}

/// Returns `InRelease`, or else `Release` and `Release.gpg`; without the latter where the recipe said that nobody signs.
fn answers(kiln: &Kiln, repository: &Repository, uri: &str, known: bool) -> Result<Vec<Answer>, kiln_fetch::Error> {
    let fetch = |file: &str| {
        let url = dist_url(uri, &repository.suite, file);
        kiln.fetcher.fetch_small(known.then_some(&kiln.store), &[url], LIMIT)
    };
    if repository.trust == Trust::Unsigned {
        return Ok(vec![fetch("Release").or_else(|_| fetch("InRelease"))?]);
    }
    match fetch("InRelease") {
        Ok(answer) => Ok(vec![answer]),
        Err(error) if matches!(*error.failure, Failure::NotFound { .. }) => {
            Ok(vec![fetch("Release")?, fetch("Release.gpg")?])
        }
        Err(error) => Err(error),
    }
}

fn judge(repository: &Repository, answers: &[Answer], policy: &Policy<'_>) -> Result<Verified, trust::Error> {
    match answers {
        [release, signature] => trust::verify_detached(&release.bytes, &signature.bytes, policy),
        [release, ..] if repository.trust == Trust::Unsigned => trust::unsigned(&release.bytes, policy),
        [release, ..] => trust::verify(&release.bytes, policy),
        [] => Err(trust::Error::NoSignature),
    }
}

/// One record for all mirrors of a suite: an old state is old whoever gives it.
fn key(repository: &Repository) -> String {
    format!("{} {}", repository.uri_in_image, repository.suite)
}

fn last_seen(kiln: &Kiln, repository: &Repository) -> Result<Option<i64>, Fault> {
    let seen = kiln.store.document(Doc::Seen, &key(repository))?;
    Ok(seen.and_then(|bytes| String::from_utf8(bytes).ok()?.trim().parse().ok()))
}

/// Remembers the date of a release file against rollbacks; of several kilns at once, the newest date stays.
fn see(kiln: &Kiln, repository: &Repository, date: i64) -> Result<(), Fault> {
    let claim = kiln.store.claim(&Digest::of(format!("seen {}", key(repository))), &kiln_sandbox::interrupted)?;
    let _claim = claim.ok_or_else(Fault::interrupted)?;
    if last_seen(kiln, repository)?.is_none_or(|seen| seen < date) {
        kiln.store.put_document(Doc::Seen, &key(repository), date.to_string().as_bytes())?;
    }
    Ok(())
}

/// A suite that ends in a slash is a flat repository: its files lie beside its packages.
pub(super) fn dist_url(uri: &str, suite: &str, file: &str) -> String {
    match suite.strip_suffix('/') {
        Some("" | ".") => format!("{uri}/{file}"),
        Some(folder) => format!("{uri}/{folder}/{file}"),
        None => format!("{uri}/dists/{suite}/{file}"),
    }
}

fn keyring(trust: &Trust) -> Result<(Keyring, Vec<String>), Fault> {
    match trust {
        Trust::Keyring(name) => {
            let bytes = crate::keyrings::get(name);
            let bytes = bytes.ok_or_else(|| Fault::recipe(format!("no keyring is called `{name}`")))?;
            Ok((Keyring::parse(bytes)?, vec![]))
        }
        Trust::Keys { armored, fingerprints } => Ok((Keyring::parse(armored.as_bytes())?, fingerprints.clone())),
        Trust::Unsigned => Ok((Keyring::default(), vec![])),
    }
}
