//! The files of a certificate and its key: read, and checked before anybody is shown them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use super::pem::{Section, sections};

/// Where a server's certificate lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// PEM: the server's own certificate first, then those that lead to what clients trust.
    pub certificates: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
}

/// Why they cannot be used: file, line, what.
#[derive(Debug, thiserror::Error)]
#[error("`{}`{}: {what}", file.display(), line.map(|line| format!(", line {line}")).unwrap_or_default())]
pub struct Flaw {
    pub file: PathBuf,
    pub line: Option<usize>,
    pub what: String,
}

/// What clients are shown, and until when it is good, milliseconds since 1970.
pub struct Shown {
    pub key: Arc<CertifiedKey>,
    pub until: i64,
}

impl Files {
    /// Reads both files, and checks that they are whole, belong together, and are good at `now`.
    pub fn read(&self, now: i64) -> Result<Shown, Flaw> {
        let file = &self.certificates;
        let (chain, leaf, line) = self.chain()?;
        let validity = &leaf.tbs_certificate.validity;
        let millis = |time: &x509_cert::time::Time| time.to_unix_duration().as_millis() as i64;
        let (from, until) = (millis(&validity.not_before), millis(&validity.not_after));
        if until < now {
            return Err(flaw(file, line, format!("the certificate is over since {}", moment(until))));
        }
        if from > now {
            return Err(flaw(file, line, format!("the certificate begins {}", moment(from))));
        }
        let (key, key_line) = self.key()?;
        match CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()) {
            Ok(key) => Ok(Shown { key: Arc::new(key), until }),
            Err(rustls::Error::InconsistentKeys(_)) => {
                let what = format!("the key is not the one of the first certificate in `{}`", file.display());
                Err(flaw(&self.key, Some(key_line), what))
            }
            Err(error) => Err(flaw(&self.key, Some(key_line), format!("this key cannot be used: {error}"))),
        }
    }

    /// Returns the certificates, the first of them read, and its line.
    fn chain(&self) -> Result<(Vec<CertificateDer<'static>>, Certificate, Option<usize>), Flaw> {
        let file = &self.certificates;
        let sections = read(file)?.into_iter().filter(|section| section.label == "CERTIFICATE");
        let (mut chain, mut first) = (vec![], None);
        for Section { line, der, .. } in sections {
            let known = Certificate::from_der(&der)
                .map_err(|error| flaw(file, Some(line), format!("this is no certificate: {error}")))?;
            first.get_or_insert((known, line));
            chain.push(der.into());
        }
        let (leaf, line) = first.ok_or_else(|| flaw(file, None, "there is no `BEGIN CERTIFICATE` in it"))?;
        Ok((chain, leaf, Some(line)))
    }

    fn key(&self) -> Result<(PrivateKeyDer<'static>, usize), Flaw> {
        let file = &self.key;
        for Section { label, line, der } in read(file)? {
            let key = match label.as_str() {
                "PRIVATE KEY" => PrivateKeyDer::Pkcs8(der.into()),
                "RSA PRIVATE KEY" => PrivateKeyDer::Pkcs1(der.into()),
                "EC PRIVATE KEY" => PrivateKeyDer::Sec1(der.into()),
                "ENCRYPTED PRIVATE KEY" => {
                    let what =
                        "the key is encrypted, and a server has nobody to ask: `openssl pkey -in FILE` decrypts it";
                    return Err(flaw(file, Some(line), what));
                }
                _ => continue,
            };
            return Ok((key, line));
        }
        Err(flaw(file, None, "there is no `BEGIN PRIVATE KEY` in it"))
    }
}

fn read(file: &Path) -> Result<Vec<Section>, Flaw> {
    let text = std::fs::read(file).map_err(|error| flaw(file, None, error.to_string()))?;
    sections(&String::from_utf8_lossy(&text)).map_err(|(line, what)| flaw(file, Some(line), what))
}

fn flaw(file: &Path, line: Option<usize>, what: impl Into<String>) -> Flaw {
    Flaw { file: file.to_owned(), line, what: what.into() }
}

pub fn moment(millis: i64) -> String {
    jiff::Timestamp::from_millisecond(millis).unwrap_or_default().strftime("%Y-%m-%d %H:%M UTC").to_string()
}
