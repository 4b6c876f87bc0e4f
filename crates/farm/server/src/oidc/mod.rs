//! Logins by OpenID Connect: the authorization code with PKCE, state and nonce.
//!
//! Who comes back is known by issuer and subject, and by nothing else: names and addresses at a provider change hands. An identity
//! belongs to an account because somebody who was logged in said so, or because it made the account (`--oidc-create`).

mod provider;
mod token;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt as _;
use kiln_farm_api::{Name, UserId};
pub use provider::Provider;
use sha2::{Digest as _, Sha256};
pub use token::Claims;
use url::Url;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::farm::Farm;
use crate::secret;

/// What an operator says of a provider.
#[derive(Clone)]
pub struct Settings {
    pub issuer: Url,
    pub client_id: String,
    pub client_secret: String,
    /// Whether who comes for the first time gets an account.
    pub create: bool,
    /// What is asked for, as `openid profile email`.
    pub scopes: String,
    /// The claim that lists groups.
    pub groups_claim: String,
    /// The group whose members administer; of accounts that were made here.
    pub admin_group: Option<String>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("issuer", &self.issuer.as_str()).finish_non_exhaustive()
    }
}

/// A login under way.
#[derive(Clone, Debug)]
pub struct Begun {
    pub nonce: String,
    pub verifier: String,
    /// The account that is to be opened by it from now on.
    pub owner: Option<UserId>,
}

/// How long a login may take, milliseconds.
const PATIENCE: i64 = 10 * 60_000;
/// Where a provider sends people back to.
pub const BACK: &str = "/login/oidc/back";

/// Begins a login; returns its state, and where to send whoever asks. `owner`: whose account is to be opened by it.
pub async fn begin(farm: &Farm, provider: &Provider, owner: Option<UserId>) -> Result<(String, Url)> {
    let [state, nonce, verifier] = [secret::fresh("")?, secret::fresh("")?, secret::fresh("")?];
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.secret.as_bytes()));
    let back = format!("{}{BACK}", farm.address);
    let to = provider.door(&back, &state.secret, &nonce.secret, &challenge).await?;
    let begun = Begun { nonce: nonce.secret, verifier: verifier.secret, owner };
    let (now, digest) = (farm.now(), state.digest);
    farm.db.write(move |tx| async move { tx.begin_login(&digest, &begun, now, now + PATIENCE).await }.boxed()).await?;
    Ok((state.secret, to))
}

/// Ends a login with what the provider sent back; returns whose account is open.
pub async fn end(farm: &Farm, provider: &Provider, state: &str, code: &str) -> Result<UserId> {
    let (digest, now) = (secret::digest(state), farm.now());
    let begun = farm.db.write(move |tx| async move { tx.end_login(&digest, now).await }.boxed()).await?;
    let late = || Error::forbidden("this login was ended before, or took too long").hint("log in again");
    let Begun { nonce, verifier, owner } = begun.ok_or_else(late)?;
    let back = format!("{}{BACK}", farm.address);
    let claims = provider.claims(code, &back, &verifier, &nonce).await?;
    let settings = provider.settings().clone();
    let fresh = UserId(Uuid::now_v7());
    farm.db.write(move |tx| async move { tx.known(&settings, &claims, owner, fresh, now).await }.boxed()).await
}

/// Returns a name here from what somebody is called there.
pub fn name(said: &str) -> Option<Name> {
    let first = said.split('@').next().unwrap_or_default().to_lowercase();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let clean: String = first.chars().map(plain).take(63).collect();
    clean.trim_start_matches(['.', '_', '-']).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_elsewhere() {
        let cases = [
            ("ann", Some("ann")),
            ("Ann.Example@example.org", Some("ann.example")),
            ("Ann Ex", Some("ann-ex")),
            ("_ann", Some("ann")),
            ("@example.org", None),
            ("", None),
        ];
        for (said, wanted) in cases {
            assert_eq!(name(said).as_ref().map(Name::as_str), wanted, "{said}");
        }
    }
}
