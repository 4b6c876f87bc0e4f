//! Who we are at the store, where a file says it: as the file said when it was good last.

use std::pin::Pin;
use std::sync::{Arc, RwLock};

use object_store::CredentialProvider;
use object_store::aws::AwsCredential;

use super::Address;
use crate::error::{Error, Result, chain};
use crate::watch::Watch;

/// The keys of a file, which may change while the server runs.
#[derive(Debug)]
pub struct Credentials {
    file: Watch,
    /// What is known without the file.
    without: Address,
    /// What the server began with.
    began: Address,
    now: RwLock<Arc<AwsCredential>>,
}

impl Credentials {
    pub(super) fn of(file: Watch, without: Address, began: &Address) -> Result<Self> {
        let now = RwLock::new(Arc::new(began.keys()?));
        Ok(Self { file, without, began: began.clone(), now })
    }

    /// Reads the file each time it changes, and at SIGHUP. One that cannot be used changes nothing.
    pub async fn renew(&self) -> Result<()> {
        let again = || match self.again() {
            Ok(()) => tracing::info!("the store's credentials were read again"),
            Err(error) => tracing::error!("the store's credentials stay as they were: {}", chain(&error)),
        };
        self.file.clone().each(again).await
    }

    fn again(&self) -> Result<()> {
        let file = self.file.files()[0].display();
        let text = std::fs::read_to_string(&self.file.files()[0]);
        let text = text.map_err(|error| Error::failed(format!("read `{file}`"), error))?;
        let fresh = self.without.clone().with_file(&text)?;
        *self.now.write().expect("no panic while held") = Arc::new(fresh.keys()?);
        if !fresh.differs_in_keys_alone(&self.began) {
            tracing::warn!("`{file}` says more than new keys: that counts when the server is started again");
        }
        Ok(())
    }

    fn now(&self) -> Arc<AwsCredential> {
        self.now.read().expect("no panic while held").clone()
    }
}

impl CredentialProvider for Credentials {
    type Credential = AwsCredential;

    // As `async_trait` writes it.
    fn get_credential<'a, 'b>(
        &'a self,
    ) -> Pin<Box<dyn Future<Output = object_store::Result<Arc<AwsCredential>>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(std::future::ready(Ok(self.now())))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_cannot_be_used_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys");
        let first = "AWS_ACCESS_KEY_ID=me\nAWS_SECRET_ACCESS_KEY=hush\n";
        let without = Address::parse("s3://b").unwrap();
        let address = without.watching(Watch::begin([file.clone()]), first).unwrap();
        let credentials = address.credentials().unwrap().unwrap();
        let says = |text: Option<&str>| {
            match text {
                Some(text) => fs::write(&file, text).unwrap(),
                None => fs::remove_file(&file).unwrap(),
            }
            let read = credentials.again().is_ok();
            let now = credentials.now();
            (read, now.key_id.clone(), now.secret_key.clone(), now.token.clone())
        };
        let keys = |read, secret: &str, token: Option<&str>| {
            (read, "me".to_owned(), secret.to_owned(), token.map(str::to_owned))
        };
        assert_eq!(says(Some(first)), keys(true, "hush", None));
        for bad in ["nonsense", "", "AWS_ACCESS_KEY_ID=other\n", "AWS_SECRET_ACCESS_KEY=two\n"] {
            assert_eq!(says(Some(bad)), keys(false, "hush", None), "{bad}");
        }
        assert_eq!(says(None), keys(false, "hush", None));
        let second = "[x]\naws_access_key_id = me\naws_secret_access_key = two\naws_session_token = t\n";
        assert_eq!(says(Some(second)), keys(true, "two", Some("t")));
        assert_eq!(says(Some(&format!("{first}AWS_REGION=elsewhere\n"))), keys(true, "hush", None));
        assert!(!format!("{credentials:?}").contains("hush"));
    }
}
