//! What a provider says of somebody: verified before a word of it is believed.

use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;

use super::Settings;

/// What is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    pub issuer: String,
    pub subject: String,
    said: Map<String, Value>,
}

impl Claims {
    /// Adds what was said besides, of the same subject.
    pub fn and(mut self, more: Map<String, Value>) -> Result<Self, String> {
        if more.get("sub").and_then(Value::as_str) != Some(&self.subject) {
            return Err("it speaks of somebody else".into());
        }
        for (key, value) in more {
            self.said.entry(key).or_insert(value);
        }
        Ok(self)
    }

    /// Returns what somebody is called there.
    pub fn called(&self) -> &str {
        let text = |name: &str| self.said.get(name).and_then(Value::as_str);
        text("preferred_username").or(text("email")).unwrap_or(&self.subject)
    }

    pub fn groups(&self, claim: &str) -> impl Iterator<Item = &str> {
        self.said.get(claim).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }
}

/// Signatures by keys that only the provider has; what is signed with the client's secret, or not at all, is not among them.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

#[derive(Deserialize)]
struct Said {
    sub: String,
    #[serde(default)]
    nonce: String,
    #[serde(default)]
    azp: Option<String>,
    aud: Value,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Returns the key that a token names, or the only one.
pub fn key<'a>(keys: &'a [Jwk], token: &str) -> Option<&'a Jwk> {
    let named = decode_header(token).ok()?.kid;
    let mut signing = keys.iter().filter(|key| !matches!(key.common.public_key_use, Some(PublicKeyUse::Encryption)));
    match named {
        Some(named) => signing.find(|key| key.common.key_id.as_ref() == Some(&named)),
        None => signing.next().filter(|_| signing.next().is_none()),
    }
}

/// Verifies a token's signature, issuer, audience, time and nonce.
pub fn verify(token: &str, key: &Jwk, issuer: &str, settings: &Settings, nonce: &str) -> Result<Claims, String> {
    let alg = decode_header(token).map_err(|error| format!("its token is none: {error}"))?.alg;
    if !ALGORITHMS.contains(&alg) {
        return Err(format!("its token is signed by {alg:?}, which anybody could"));
    }
    let mut validation = Validation::new(alg);
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[&settings.client_id]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.validate_nbf = true;
    let known = DecodingKey::from_jwk(key).map_err(|error| format!("its key is none: {error}"))?;
    let said: Said =
        decode(token, &known, &validation).map_err(|error| format!("its token is refused: {error}"))?.claims;
    if !bool::from(said.nonce.as_bytes().ct_eq(nonce.as_bytes())) {
        return Err("its token is for another login".into());
    }
    let several = said.aud.as_array().is_some_and(|all| all.len() > 1);
    if said.azp.as_ref().map_or(several, |azp| *azp != settings.client_id) {
        return Err("its token is for another service".into());
    }
    Ok(Claims { issuer: issuer.to_owned(), subject: said.sub, said: said.rest })
}
