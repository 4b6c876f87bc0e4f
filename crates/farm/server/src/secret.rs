//! Secrets of the server's making: random, shown once, kept as their digest. Passwords: argon2.

use argon2::Argon2;
use argon2::password_hash::rand_core::OsRng;
use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kiln_model::Digest;

use crate::error::{Error, Result};

/// A secret that was just made.
#[derive(Clone)]
pub struct Fresh {
    /// What whoever it is for is told, once.
    pub secret: String,
    /// What the database keeps.
    pub digest: String,
}

/// What tells a node's credential from a person's token, also to those who look for secrets in files.
pub const NODE: &str = "kilnnode_";
pub const TOKEN: &str = "kiln_";

/// Returns 256 random bits.
pub fn random() -> Result<[u8; 32]> {
    let mut bytes = [0_u8; 32];
    let mut filled = 0;
    while filled < bytes.len() {
        let read = rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty());
        filled += read.map_err(|error| Error::failed("make a secret", error))?;
    }
    Ok(bytes)
}

/// Makes a secret of 256 random bits.
pub fn fresh(prefix: &str) -> Result<Fresh> {
    let secret = format!("{prefix}{}", URL_SAFE_NO_PAD.encode(random()?));
    Ok(Fresh { digest: digest(&secret), secret })
}

/// Returns what the database keeps of a secret.
pub fn digest(secret: &str) -> String {
    Digest::of(secret).to_string()
}

/// Returns what the database keeps of a password; takes a while by design.
pub fn hash(password: &str) -> Result<String> {
    if password.chars().count() < 10 {
        return Err(Error::bad("a password has at least ten characters"));
    }
    let salt = SaltString::generate(&mut OsRng);
    let hashed = Argon2::default().hash_password(password.as_bytes(), &salt);
    hashed.map(|hash| hash.to_string()).map_err(|error| Error::failed("hash a password", error.to_string()))
}

/// Whether a password is the one of a hash. Without a hash it takes as long: who has an account is not to be told from it.
pub fn verify(password: &str, hash: Option<&str>) -> bool {
    const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5bm9ib2R5$6hw2oOfqDGHDbgW3PQ2PFv1RI0cHCn2yDJvKhB8uEEQ";
    let parsed = PasswordHash::new(hash.unwrap_or(NOBODY));
    let right = parsed.is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok());
    right && hash.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords() {
        let kept = hash("correct horse").unwrap();
        assert!(
            verify("correct horse", Some(&kept)) && !verify("correct house", Some(&kept)) && !verify("nobody", None)
        );
        assert!(hash("short").is_err());
        let (one, other) = (fresh(TOKEN).unwrap(), fresh(TOKEN).unwrap());
        assert!(one.secret != other.secret && one.secret.len() > 40 && one.digest == digest(&one.secret));
    }
}
