//! Sources made, removed, and told.

use futures_util::FutureExt as _;
use glob::Pattern;
use kiln_farm_api::source::{NewSource, Origin, Source, Told};
use kiln_farm_api::{Name, PushId, SourceId, UserId};
use url::{Host, Url};
use uuid::Uuid;

use crate::db::sources::{Fresh, Kept};
use crate::decide::push::is_branch;
use crate::error::{Error, Result};
use crate::farm::Farm;
use crate::seals::Whose;
use crate::{hooks, secret};

/// Most patterns of a source.
const PATTERNS: usize = 50;

impl Farm {
    /// Makes a source; its secret is in the answer and nowhere else that people look.
    pub async fn make_source(&self, project: Name, new: NewSource, owner: UserId, by: &Name) -> Result<Source> {
        let NewSource { url, branches, recipes, secret, credential } = new;
        if self.gather.is_none() {
            return Err(Error::bad("this server has nothing to read repositories with"));
        }
        let url = sound_url(&url, self.sources_private)?;
        sound_patterns("branch", &branches)?;
        sound_patterns("recipe", &recipes)?;
        if secret.as_ref().is_some_and(|secret| secret.chars().count() < 16) {
            return Err(Error::bad("a source has a secret of at least 16 characters"));
        }
        let sound = |text: &String| text.split_once(':').is_some() && !text.chars().any(char::is_control);
        if credential.as_ref().is_some_and(|credential| !sound(credential)) {
            return Err(Error::bad("what opens a private repository is `NAME:TOKEN`"));
        }
        let secret = secret.map_or_else(|| secret::fresh("").map(|fresh| fresh.secret), Ok)?;
        let (now, who) = (self.now(), by.to_string());
        let source = Source {
            id: SourceId(Uuid::now_v7()),
            url: url.into(),
            branches,
            recipes,
            owner: by.clone(),
            created: now,
            credential: credential.is_some(),
            secret: None,
        };
        let id = source.id;
        let kept = Kept {
            source: source.clone(),
            project,
            owner,
            secret: Whose::Source(id).seal(&self.vault, &secret)?,
            credential: credential.map(|text| Whose::Credential(id).seal(&self.vault, &text)).transpose()?,
        };
        self.db
            .write(move |tx| {
                async move {
                    tx.make_source(&kept).await?;
                    tx.note(now, &who, "make source", kept.project.as_str()).await
                }
                .boxed()
            })
            .await?;
        Ok(Source { secret: Some(secret), ..source })
    }

    pub async fn drop_source(&self, project: Name, source: SourceId, by: &str) -> Result<()> {
        let (now, by) = (self.now(), by.to_owned());
        self.db
            .write(move |tx| {
                async move {
                    tx.drop_source(&project, source).await?;
                    tx.note(now, &by, "drop source", project.as_str()).await
                }
                .boxed()
            })
            .await
    }

    /// Takes the word of a forge; what was said before changes nothing.
    pub async fn pushed(
        &self,
        source: SourceId,
        branch: String,
        commit: String,
        base: Option<String>,
    ) -> Result<PushId> {
        let (now, once) = (self.now(), format!("push:{commit}"));
        let fresh = Fresh { origin: Origin::Push, branch, commit: Some(commit), base, once };
        let (id, new) = self.db.write(move |tx| async move { tx.push(source, fresh, now).await }.boxed()).await?;
        tracing::info!(source = %source, "source {source} was told of push {id}{}", if new { "" } else { " again" });
        Ok(id)
    }

    /// Lets all of a source's recipes be built as they are on a branch.
    pub async fn build_source(&self, source: SourceId, branch: String, by: &str) -> Result<Told> {
        if !is_branch(&branch) {
            return Err(Error::bad(format!("`{}` is no branch", branch.escape_debug())));
        }
        let (now, by) = (self.now(), by.to_owned());
        let once = format!("hand:{}", Uuid::now_v7());
        let fresh = Fresh { origin: Origin::Hand, branch, commit: None, base: None, once };
        let job = self.db.write(move |tx| {
            async move {
                tx.note(now, &by, "build source", &source.to_string()).await?;
                tx.push(source, fresh, now).await
            }
            .boxed()
        });
        Ok(Told { push: Some(job.await?.0), ignored: None })
    }
}

/// Reads a repository's address. A name that leads inside is only found when it is looked up.
fn sound_url(text: &str, private: bool) -> Result<Url> {
    let url: Url = text.parse().map_err(|error| Error::bad(format!("`{text}` is no address: {error}")))?;
    let known = match url.scheme() {
        "https" => url.host().is_some(),
        "http" => private && url.host().is_some(),
        "file" => private,
        _ => false,
    };
    let allowed = "an operator may allow others: `--sources-private`";
    if !known {
        return Err(Error::bad("a source's address begins with `https://`").hint(allowed));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::bad("a source's address has no name and password in it")
            .hint("what opens a private repository is its `credential`"));
    }
    let inside = match url.host() {
        Some(Host::Ipv4(address)) => !hooks::allowed(address.into()),
        Some(Host::Ipv6(address)) => !hooks::allowed(address.into()),
        _ => false,
    };
    if inside && !private {
        return Err(Error::bad("a source does not lie in the server's own network").hint(allowed));
    }
    Ok(url)
}

fn sound_patterns(what: &str, patterns: &[String]) -> Result<()> {
    if patterns.is_empty() || patterns.len() > PATTERNS {
        return Err(Error::bad(format!("a source has 1 to {PATTERNS} patterns of a {what}")));
    }
    for pattern in patterns {
        let long = pattern.is_empty() || pattern.len() > 250;
        match Pattern::new(pattern) {
            Ok(_) if !long => {}
            Ok(_) => return Err(Error::bad(format!("a pattern of a {what} has 1 to 250 characters"))),
            Err(error) => return Err(Error::bad(format!("`{pattern}` is no pattern of a {what}: {error}"))),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_source_may_lie() {
        let cases = [
            ("https://git.example.org/a/b.git", true, true),
            ("http://git.example.org/a", false, true),
            ("file:///srv/git/a.git", false, true),
            ("https://10.0.0.1/a.git", false, true),
            ("https://[::1]/a.git", false, true),
            ("ssh://git@git.example.org/a", false, false),
            ("git@git.example.org:a/b", false, false),
            ("ext::sh -c id", false, false),
            ("https://ann:secret@git.example.org/a", false, false),
            ("nowhere", false, false),
        ];
        for (url, outside, inside) in cases {
            assert_eq!(sound_url(url, false).is_ok(), outside, "{url}");
            assert_eq!(sound_url(url, true).is_ok(), inside, "{url}, privately");
        }
    }
}
