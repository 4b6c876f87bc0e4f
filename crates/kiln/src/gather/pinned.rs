//! Where a source's repository may lie: a name is looked up once, and what was allowed is what is asked.

use std::net::ToSocketAddrs as _;

use kiln_farm_server::hooks::allowed;
use kiln_farm_server::sources::Wish;
use kiln_fetch::git::Remote;
use kiln_model::fault::OrFault as _;
use kiln_model::{Fault, FaultKind};
use url::Url;

/// Returns the repository of a wish, with the address that is asked for it.
pub fn remote(wish: &Wish) -> Result<Remote, Fault> {
    let url: Url = wish.url.parse().fault(FaultKind::Recipe, || format!("read the address `{}`", wish.url))?;
    let protocols = if wish.private { "https:http:file" } else { "https" };
    let pinned = match url.host_str().zip(url.port_or_known_default()) {
        Some((host, port)) => Some(lookup(host, port, wish.private)?),
        None => None,
    };
    Ok(Remote { url: wish.url.clone(), credential: wish.credential.clone(), pinned, protocols })
}

fn lookup(host: &str, port: u16, private: bool) -> Result<(String, u16, std::net::IpAddr), Fault> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found = (bare, port).to_socket_addrs().fault(FaultKind::Upstream, || format!("look `{host}` up"))?;
    let mut found = found.map(|address| address.ip()).filter(|address| private || allowed(*address));
    // IPv4 first: not every machine has a way for the other.
    let found: Vec<_> = found.by_ref().collect();
    let first = found.iter().find(|address| address.is_ipv4()).or_else(|| found.first());
    let inside = || Fault::recipe(format!("`{host}` has no address outside this server's own network"));
    Ok((host.to_owned(), port, *first.ok_or_else(inside)?))
}
