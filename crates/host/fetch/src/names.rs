//! Host names, each looked up once.
//!
//! The client would ask for every connection anew: a dozen lookups at once for the one mirror. Resolvers on weak lines
//! lose some of these, and a lost one takes five seconds, which even the end of the program waits for.

use std::collections::HashMap;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Mutex;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

#[derive(Default)]
pub(crate) struct Names(Mutex<HashMap<String, Vec<SocketAddr>>>);

impl Names {
    fn addresses(&self, host: &str) -> std::io::Result<Vec<SocketAddr>> {
        // Held during the lookup, so that others wait for its answer.
        let mut known = self.0.lock().expect("no panic while held");
        if let Some(addresses) = known.get(host) {
            return Ok(addresses.clone());
        }
        let addresses: Vec<SocketAddr> = (host, 0).to_socket_addrs()?.collect();
        known.insert(host.to_owned(), addresses.clone());
        Ok(addresses)
    }
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let found = self.addresses(name.as_str());
        let found = found.map(|addresses| -> Addrs { Box::new(addresses.into_iter()) });
        Box::pin(std::future::ready(found.map_err(Into::into)))
    }
}
