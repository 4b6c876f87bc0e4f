//! One attempt of a delivery.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use kiln_farm_api::client::rooted;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use sha2::Sha256;
use url::Host;

use super::address::allowed;
use crate::db::hooks::Due;
use crate::decide::deliver::Outcome;
use crate::error::chain;
use crate::farm::Farm;
use crate::seals::Whose;

/// How long the other side may take to answer; it is to take the word and work later.
const PATIENCE: Duration = Duration::from_secs(20);

/// Returns what sends deliveries. It goes where the address says and nowhere else: through no proxy and after no redirect, and a name
/// is looked up once, so what was allowed is what is asked.
pub fn client(private: bool) -> Client {
    let builder = || {
        let builder = Client::builder()
            .timeout(PATIENCE)
            .connect_timeout(Duration::from_secs(10))
            .redirect(Policy::none())
            .no_proxy()
            .user_agent(concat!("kiln/", env!("CARGO_PKG_VERSION")));
        if private { builder } else { builder.dns_resolver(Arc::new(Outside)) }
    };
    rooted(&builder, &[]).expect("a client without special wishes can be made")
}

/// Looks names up, and knows only addresses on the Internet.
struct Outside;

impl Resolve for Outside {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> = found.filter(|address| allowed(address.ip())).collect();
            if found.is_empty() {
                return Err("it has no address outside this server's own network".into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Returns why an address is none for a hook, if so. A name that leads inside is only found when it is looked up.
pub fn refused(url: &Url, private: bool) -> Option<&'static str> {
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Some("a hook's address begins with `https://` or `http://`");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Some("a hook's address has no name and password in it: bodies are signed instead");
    }
    let inside = match url.host() {
        Some(Host::Ipv4(address)) => !allowed(address.into()),
        Some(Host::Ipv6(address)) => !allowed(address.into()),
        _ => false,
    };
    (inside && !private).then_some("a hook does not lead into the server's own network")
}

/// Returns the signature of a body.
pub fn signature(secret: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key of any length");
    mac.update(body.as_bytes());
    let digits: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={digits}")
}

/// Makes the attempt.
pub async fn send(client: &Client, due: &Due, farm: &Farm) -> Outcome {
    let url: Url = match due.url.parse() {
        Ok(url) => url,
        Err(error) => return Outcome::Failed(format!("read its address: {error}")),
    };
    if let Some(why) = refused(&url, farm.webhooks_private) {
        return Outcome::Failed(why.into());
    }
    let secret = match Whose::Hook(due.hook).open(&farm.vault, &due.secret) {
        Ok(secret) => secret,
        Err(error) => return Outcome::Failed(chain(&error)),
    };
    let request = client
        .post(url)
        .header(CONTENT_TYPE, "application/json")
        .header("x-kiln-event", &due.event)
        .header("x-kiln-delivery", due.id.to_string())
        .header("x-kiln-signature", signature(&secret, &due.body))
        .body(due.body.clone());
    match request.send().await {
        Ok(response) => Outcome::Answered(response.status().as_u16()),
        Err(error) => Outcome::Failed(chain(&error.without_url())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_as_others_sign() {
        // RFC 4231, test case 2.
        let wanted = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signature("Jefe", "what do ya want for nothing?"), wanted);
    }

    #[test]
    fn where_a_hook_may_lead() {
        let cases = [
            ("https://ci.example.org/kiln?a=b", true),
            ("http://8.8.8.8:8080/", true),
            ("ftp://ci.example.org/", false),
            ("file:///etc/passwd", false),
            ("https://ann:secret@ci.example.org/", false),
            ("http://127.0.0.1/", false),
            ("http://2130706433/", false),
            ("http://0x7f.1/", false),
            ("http://[::1]/", false),
            ("http://[::ffff:169.254.169.254]/", false),
        ];
        for (text, sound) in cases {
            assert_eq!(refused(&text.parse().unwrap(), false).is_none(), sound, "{text}");
        }
        assert_eq!(refused(&"http://127.0.0.1/".parse().unwrap(), true), None);
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_not_followed() {
        let inside = "localhost".parse().unwrap();
        assert!(Outside.resolve(inside).await.is_err());
    }
}
