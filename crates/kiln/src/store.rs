//! Where a build service's artifacts are, in words of the command line.

use std::path::PathBuf;

use kiln_farm_server::blobs::Address;
use kiln_farm_server::watch::Watch;
use kiln_model::Fault;
use kiln_model::fault::OrFault as _;

use crate::farm;

/// Flags of every command that works with the artifacts.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Place {
    /// Keeps artifacts in a bucket that speaks S3: `s3://BUCKET/PREFIX` [default: $KILN_STORE, else the data folder]
    ///
    /// Where it is and who we are there say AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN
    /// and AWS_ALLOW_HTTP (`true`: also without TLS).
    #[arg(long, value_name = "ADDRESS")]
    store: Option<String>,
    /// File with the same variables, a line each; it goes before the environment
    ///
    /// A server reads it again when it changes and at SIGHUP, and takes the keys.
    #[arg(long, value_name = "FILE")]
    store_credentials_file: Option<PathBuf>,
}

impl Place {
    /// Returns the bucket that is meant, if one is.
    pub fn address(&self) -> Result<Option<Address>, Fault> {
        let said = self.store.clone().or_else(|| std::env::var("KILN_STORE").ok());
        let Some(said) = said.filter(|said| !said.is_empty()) else { return Ok(None) };
        let wrong = |error| farm::not_done("name the store", error);
        let environment = std::env::vars_os();
        let environment =
            environment.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let address = Address::parse(&said).map_err(wrong)?.with_environment(environment);
        let Some(file) = &self.store_credentials_file else { return Ok(Some(address)) };
        let watch = Watch::begin([file.clone()]);
        let text = std::fs::read_to_string(file).farm(|| format!("read `{}`", file.display()))?;
        address.watching(watch, &text).map(Some).map_err(wrong)
    }
}
