//! Who asks, where proxies stand between: the last one that no proxy of ours is.

use std::net::IpAddr;

use axum::http::HeaderMap;
use ipnet::IpNet;

/// What a proxy writes down.
const FORWARDED: &str = "x-forwarded-for";

/// Returns who asks. What `X-Forwarded-For` says counts where a trusted proxy says it, read from its end: everything before what the
/// first proxy of ours saw may be made up.
pub fn asker(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let peer = peer.to_canonical();
    let ours = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    if !ours(&peer) {
        return peer;
    }
    let said: Vec<&str> = headers.get_all(FORWARDED).iter().filter_map(|value| value.to_str().ok()).collect();
    let mut last = peer;
    for word in said.iter().flat_map(|value| value.split(',')).rev() {
        let Some(address) = address(word.trim()) else { break };
        last = address;
        if !ours(&address) {
            break;
        }
    }
    last
}

/// Reads an address, which may have a port or brackets.
fn address(word: &str) -> Option<IpAddr> {
    let plain = word.parse().ok().or_else(|| Some(word.parse::<std::net::SocketAddr>().ok()?.ip()));
    let bare = || word.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    plain.or_else(bare).map(|address: IpAddr| address.to_canonical())
}

/// Reads what an operator says of a proxy: `ADDRESS` or `ADDRESS/LENGTH`.
pub fn proxy(text: &str) -> Result<IpNet, String> {
    let whole = || text.parse::<IpAddr>().map(IpNet::from).ok();
    text.parse::<IpNet>().ok().or_else(whole).ok_or_else(|| format!("`{text}` is neither ADDRESS nor ADDRESS/LENGTH"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_our_proxies_saw_counts() {
        let trusted = ["10.0.0.0/8", "127.0.0.1", "2001:db8:1::/64"].map(|text| proxy(text).unwrap());
        let cases: &[(&str, &[&str], &str)] = &[
            ("192.0.2.1", &[], "192.0.2.1"),
            // Nobody's proxy: what it says is made up.
            ("192.0.2.1", &["198.51.100.7"], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            ("::ffff:10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            ("127.0.0.1", &["1.1.1.1, 198.51.100.7"], "198.51.100.7"),
            ("127.0.0.1", &["1.1.1.1, 198.51.100.7, 10.2.3.4"], "198.51.100.7"),
            ("127.0.0.1", &["198.51.100.7", "10.2.3.4"], "198.51.100.7"),
            ("127.0.0.1", &["198.51.100.7:4711"], "198.51.100.7"),
            ("127.0.0.1", &["[2001:db8::7]:4711"], "2001:db8::7"),
            ("127.0.0.1", &["[2001:db8::7]"], "2001:db8::7"),
            ("2001:db8:1::1", &["2001:db8::7"], "2001:db8::7"),
            ("127.0.0.1", &["1.1.1.1, unknown, 10.2.3.4"], "10.2.3.4"),
            ("127.0.0.1", &["10.0.0.2, 10.0.0.3"], "10.0.0.2"),
        ];
        for (peer, said, wanted) in cases {
            let mut headers = HeaderMap::new();
            for value in *said {
                headers.append(FORWARDED, value.parse().unwrap());
            }
            let wanted: IpAddr = wanted.parse().unwrap();
            assert_eq!(asker(peer.parse().unwrap(), &headers, &trusted), wanted, "{peer} {said:?}");
        }
        assert!(proxy("10.0.0.0/33").is_err() && proxy("proxy.example.org").is_err());
    }
}
