//! Secrets that the server itself uses, of webhooks and of sources: sealed in their rows, and opened where they are used.
//!
//! They lay there in clear once. What does not begin as sealed ones do is one of those, until a server starts and seals it.

use std::fmt;

use axum::http::StatusCode;
use futures_util::FutureExt as _;
use kiln_farm_api::{HookId, SourceId};

use crate::error::{Error, Result};
use crate::farm::Farm;
use crate::vault::Vault;

/// What a sealed one begins with; the name of its key follows.
const SEALED: &str = "kiln-sealed:";

/// Whose secret it is: what was sealed for one is nothing in the place of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Signs what a webhook is told.
    Hook(HookId),
    /// Signs what a forge says to a source.
    Source(SourceId),
    /// Opens a source's repository.
    Credential(SourceId),
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hook(id) => write!(f, "the secret of webhook `{id}`"),
            Self::Source(id) => write!(f, "the secret of source `{id}`"),
            Self::Credential(id) => write!(f, "the credential of source `{id}`"),
        }
    }
}

impl Whose {
    /// Returns a secret as its row keeps it.
    pub fn seal(self, vault: &Vault, secret: &str) -> Result<String> {
        Ok(format!("{SEALED}{}:{}", vault.name(), vault.sealed(&self.words(), secret)?))
    }

    /// Returns a secret that its row keeps.
    pub fn open(self, vault: &Vault, kept: &str) -> Result<String> {
        let Some((key, sealed)) = parts(kept) else { return Ok(kept.to_owned()) };
        if key != vault.name() {
            return Err(self.lost("was kept with another key than this server has"));
        }
        vault.opened(&self.words(), sealed).ok_or_else(|| self.lost("is not as it was kept"))
    }

    fn words(self) -> String {
        match self {
            Self::Hook(id) => format!("kiln column\0hooks.secret\0{id}"),
            Self::Source(id) => format!("kiln column\0sources.secret\0{id}"),
            Self::Credential(id) => format!("kiln column\0sources.credential\0{id}"),
        }
    }

    fn lost(self, how: &str) -> Error {
        let what = if matches!(self, Self::Hook(_)) { "webhook" } else { "source" };
        Error::refused(StatusCode::UNPROCESSABLE_ENTITY, format!("{self} {how}"))
            .hint(format!("an owner of the project makes the {what} anew, or an operator puts the key back"))
    }
}

/// Returns the name of the key and what was sealed with it; none: it lies in clear.
fn parts(kept: &str) -> Option<(&str, &str)> {
    kept.strip_prefix(SEALED)?.split_once(':')
}

impl Farm {
    /// Seals at the start what lies in clear, and says that there is something which this server cannot read.
    pub(crate) async fn seal_secrets(&self) -> Result<()> {
        let (mut clear, mut unreadable) = (vec![], 0);
        for (whose, kept) in self.db.kept_secrets().await? {
            match parts(&kept).map(|(key, _)| key == self.vault.name()) {
                None => clear.push((whose, whose.seal(&self.vault, &kept)?, kept)),
                Some(known) => unreadable += u64::from(!known),
            }
        }
        if unreadable > 0 {
            tracing::warn!(
                "{unreadable} secrets of webhooks and sources were kept with another key than this server's: give it that one, or make those anew"
            );
        }
        if clear.is_empty() {
            return Ok(());
        }
        let (kind, count) = (self.db.kind, clear.len());
        self.db.write(move |tx| async move { tx.seal(kind, clear).await }.boxed()).await?;
        self.db.empty_log().await?;
        tracing::info!("{count} secrets of webhooks and sources lay in clear, and are sealed now");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn each_opens_in_its_own_place_with_its_own_key() {
        let vault = Vault::read("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
        let other = Vault::read("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=").unwrap();
        let id = Uuid::now_v7();
        let (source, credential) = (Whose::Source(SourceId(id)), Whose::Credential(SourceId(id)));
        let kept = source.seal(&vault, "correct horse").unwrap();
        assert!(parts(&kept).is_some() && !kept.contains("horse"), "{kept}");
        assert_eq!(source.open(&vault, &kept).unwrap(), "correct horse");
        assert_eq!(source.open(&other, "still in clear").unwrap(), "still in clear");
        for (whose, vault, why) in [
            (source, &other, "the secret of source `ID` was kept with another key than this server has"),
            (credential, &vault, "the credential of source `ID` is not as it was kept"),
            (Whose::Hook(HookId(id)), &vault, "the secret of webhook `ID` is not as it was kept"),
        ] {
            let refused = whose.open(vault, &kept).unwrap_err().problem();
            assert_eq!((refused.status, refused.title), (422, why.replace("ID", &id.to_string())));
        }
    }
}
