//! Where a bucket is and who we are there: `s3://BUCKET/PREFIX`, and the variables that every program for S3 reads.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, AwsCredential};
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, RetryConfig};

use super::Credentials;
use crate::error::{Error, Result};
use crate::watch::Watch;

/// A bucket, and the part of it that is ours.
#[derive(Clone)]
pub struct Address {
    pub bucket: String,
    /// What the names of our objects begin with.
    pub prefix: Path,
    settings: BTreeMap<String, String>,
    /// A file that some of them are from, and those that were there before.
    file: Option<(Watch, BTreeMap<String, String>)>,
}

/// Settings that must be there, or one of [`ELSEWHERE`].
const KEYS: [&str; 2] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
/// Settings that change when keys do.
const CHANGING: [&str; 4] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_TOKEN"];
/// What says that keys come from the machine that we run on.
const ELSEWHERE: [&str; 4] = [
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_METADATA_ENDPOINT",
];

impl Address {
    /// Reads `s3://BUCKET/PREFIX`.
    pub fn parse(text: &str) -> Result<Self> {
        let odd =
            |why: String| Error::bad(why).hint("a store is named like this: `s3://BUCKET` or `s3://BUCKET/PREFIX`");
        let Some(rest) = text.strip_prefix("s3://") else {
            return Err(odd(format!("`{text}` is no store")));
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let plain = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || ".-_".contains(char);
        if bucket.is_empty() || !bucket.chars().all(plain) {
            return Err(odd(format!("`{bucket}` is no name of a bucket")));
        }
        let prefix = Path::parse(prefix.trim_end_matches('/')).map_err(|error| odd(format!("`{prefix}`: {error}")))?;
        Ok(Self { bucket: bucket.to_owned(), prefix, settings: BTreeMap::new(), file: None })
    }

    /// Adds settings of the environment; of other programs' variables there are many, and they are left alone.
    #[must_use]
    pub fn with_environment(mut self, environment: impl IntoIterator<Item = (String, String)>) -> Self {
        let ours = |name: &str, value: &str| name.starts_with("AWS_") && !value.is_empty() && key(name).is_some();
        self.settings.extend(environment.into_iter().filter(|(name, value)| ours(name, value)));
        self
    }

    /// Adds settings of a file: lines like `AWS_ACCESS_KEY_ID=…`, or a profile as other programs for S3 keep it.
    pub fn with_file(mut self, text: &str) -> Result<Self> {
        for (line, number) in text.lines().map(str::trim).zip(1..) {
            if line.is_empty() || line.starts_with(['#', ';', '[']) {
                continue;
            }
            let setting = line.strip_prefix("export ").unwrap_or(line).split_once('=');
            let setting = setting.map(|(name, value)| (name.trim().to_uppercase(), unquoted(value.trim())));
            match setting {
                Some((name, value)) if name.starts_with("AWS_") && key(&name).is_some() => {
                    self.settings.insert(name, value.to_owned());
                }
                // What the line says may be a secret.
                _ => {
                    let why = format!("line {number} of the store's credentials is no setting that kiln knows");
                    return Err(Error::bad(why).hint("lines are like this: `AWS_ACCESS_KEY_ID=…`"));
                }
            }
        }
        Ok(self)
    }

    /// Adds settings of a file that says `text`; a server takes other keys when they are in it later.
    pub fn watching(self, file: Watch, text: &str) -> Result<Self> {
        let known = Some((file, self.settings.clone()));
        Ok(Self { file: known, ..self.with_file(text)? })
    }

    /// Returns the keys of its file, if it has one with keys in it.
    pub(super) fn credentials(&self) -> Result<Option<Credentials>> {
        let Some((file, before)) = self.file.as_ref().filter(|_| self.has_keys()) else { return Ok(None) };
        let without = Self { settings: before.clone(), file: None, ..self.clone() };
        Credentials::of(file.clone(), without, self).map(Some)
    }

    fn has_keys(&self) -> bool {
        KEYS.into_iter().all(|name| self.settings.contains_key(name))
    }

    /// Returns who we are.
    pub(super) fn keys(&self) -> Result<AwsCredential> {
        let said = |name: &str| self.settings.get(name).cloned();
        let key = |name: &str| {
            said(name).ok_or_else(|| {
                Error::bad(format!("`{self}` wants a key, and {name} is not set")).hint(
                    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or put them in a file: `--store-credentials-file FILE`",
                )
            })
        };
        let (key_id, secret_key) = (key(KEYS[0])?, key(KEYS[1])?);
        Ok(AwsCredential { key_id, secret_key, token: said("AWS_SESSION_TOKEN").or_else(|| said("AWS_TOKEN")) })
    }

    /// Whether all that is said is the same but the keys.
    pub(super) fn differs_in_keys_alone(&self, other: &Self) -> bool {
        let lasting = |address: &Self| {
            let mut settings = address.settings.clone();
            settings.retain(|name, _| !CHANGING.contains(&name.as_str()));
            settings
        };
        lasting(self) == lasting(other)
    }

    /// Returns where the bucket is asked for.
    pub fn endpoint(&self) -> String {
        let said = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
        let said = said.iter().find_map(|name| self.settings.get(*name));
        said.cloned().unwrap_or_else(|| format!("https://s3.{}.amazonaws.com", self.region()))
    }

    /// Returns the region that is asked.
    pub fn region(&self) -> &str {
        let said = ["AWS_REGION", "AWS_DEFAULT_REGION"].iter().find_map(|name| self.settings.get(*name));
        said.map_or("us-east-1", String::as_str)
    }

    /// Returns a client of the bucket, which has spoken to nobody yet; `credentials` go before the keys that are known now.
    pub(super) fn client(&self, credentials: Option<Arc<Credentials>>) -> Result<AmazonS3> {
        self.sound()?;
        let settings = self.settings.iter().filter_map(|(name, value)| Some((key(name)?, value)));
        let builder = AmazonS3Builder::new().with_bucket_name(&self.bucket).with_retry(patience());
        let builder = builder.with_client_options(
            ClientOptions::new()
                .with_connect_timeout(Duration::from_secs(5))
                .with_timeout_disabled()
                .with_read_timeout(SILENCE),
        );
        let builder = settings.fold(builder, |builder, (key, value)| builder.with_config(key, value));
        let builder = credentials.into_iter().fold(builder, |builder, keys| builder.with_credentials(keys));
        // Not every store knows how to remove many at once.
        let client = builder.with_disable_bulk_delete(true).build();
        client.map_err(|error| Error::bad(format!("`{self}`: {error}")).hint("the variables AWS_… say how to reach it"))
    }

    fn sound(&self) -> Result<()> {
        let there = |name: &str| self.settings.contains_key(name);
        if !ELSEWHERE.into_iter().any(there) {
            self.keys()?;
        }
        let endpoint = self.endpoint();
        let plain = self.settings.get("AWS_ALLOW_HTTP").is_some_and(|said| matches!(said.as_str(), "true" | "1"));
        if endpoint.starts_with("http://") && !plain {
            let why = format!("`{endpoint}` is not encrypted");
            return Err(Error::bad(why).hint("name one of https in AWS_ENDPOINT_URL, or set AWS_ALLOW_HTTP=true"));
        }
        if !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
            let why = format!("AWS_ENDPOINT_URL: `{endpoint}` is no address");
            return Err(Error::bad(why).hint("it is like this: `https://s3.example.org`"));
        }
        Ok(())
    }
}

/// How long a store may say nothing.
const SILENCE: Duration = Duration::from_secs(120);

/// Returns how often a store is asked again that did not answer: who waits for it is told before long.
fn patience() -> RetryConfig {
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(2), base: 2.0 };
    RetryConfig { backoff, max_retries: 4, retry_timeout: Duration::from_secs(20) }
}

/// Returns what the client calls a setting.
fn key(name: &str) -> Option<AmazonS3ConfigKey> {
    // The bucket is named by the address alone.
    name.to_lowercase().parse().ok().filter(|key| *key != AmazonS3ConfigKey::Bucket)
}

fn unquoted(value: &str) -> &str {
    let inner = |quote| value.strip_prefix(quote).and_then(|value| value.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(value)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.prefix.as_ref().is_empty() { "" } else { "/" };
        write!(f, "s3://{}{slash}{}", self.bucket, self.prefix)
    }
}

/// Without the secrets.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> String {
        let problem =
            Address::parse("s3://b").unwrap().with_file(text).and_then(|address| address.client(None)).unwrap_err();
        problem.problem().title
    }

    #[test]
    fn addresses() {
        for (text, shown) in [("s3://b", "s3://b"), ("s3://my.bucket-1/a/b/", "s3://my.bucket-1/a/b")] {
            assert_eq!(Address::parse(text).unwrap().to_string(), shown);
        }
        for text in ["b", "/srv/blobs", "s3://", "s3:///a", "s3://B", "s3://b?x", "s3://b/a//b", "https://b/a"] {
            let problem = Address::parse(text).unwrap_err().problem();
            assert!(problem.hint.unwrap().contains("s3://BUCKET"), "{text}: {}", problem.title);
        }
    }

    #[test]
    fn what_is_missing_is_named_and_secrets_are_not() {
        assert!(said("").contains("AWS_ACCESS_KEY_ID is not set"));
        assert!(said("AWS_ACCESS_KEY_ID=me").contains("AWS_SECRET_ACCESS_KEY is not set"));
        let keys = "[default]\naws_access_key_id = me\naws_secret_access_key = \"hush\"\n# words\n";
        assert!(said(&format!("{keys}AWS_ENDPOINT_URL=http://h")).contains("not encrypted"));
        assert!(said(&format!("{keys}AWS_ENDPOINT_URL=h:80")).contains("is no address"));
        assert!(said("hush").contains("line 1") && !said("hush").contains("hush"));
        let address = Address::parse("s3://b/p").unwrap().with_file(keys).unwrap();
        assert!(!format!("{address:?}").contains("hush"));
        address.client(None).unwrap();
        let other = [("AWS_REGION", "eu"), ("AWS_PAGER", "less"), ("PATH", "/bin"), ("AWS_BUCKET", "x")];
        let address = address.with_environment(other.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!((address.region(), address.settings.len()), ("eu", 3));
        assert_eq!(address.endpoint(), "https://s3.eu.amazonaws.com");
    }
}
