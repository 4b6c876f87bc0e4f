//! What files and variables shall hold: text as it is, secrets put in at the last moment.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_model::{Content, Fault};
use kiln_plan::stage::{JSON_SECRET_PREFIX, PSK_PREFIX, SECRET_PREFIX};

use super::Run;

impl Run<'_> {
    /// Returns the bytes of a content.
    pub fn content(&self, content: &Content) -> Result<Vec<u8>, Fault> {
        match content {
            Content::Text(text) => Ok(self.with_json(&self.with_keys(text)?)?.into_bytes()),
            Content::Base64(text) => {
                STANDARD.decode(text).map_err(|error| Fault::farm(format!("read the bytes of a planned file: {error}")))
            }
            Content::Secret { name, .. } => Ok(self.secrets.get(name)?.as_bytes().to_vec()),
        }
    }

    /// Returns an environment with secrets in the place of the words that stand for them.
    pub fn unveiled(&self, env: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Fault> {
        let one = |(name, value): (&String, &String)| match value.strip_prefix(SECRET_PREFIX) {
            Some(word) => {
                let secret = word.rsplit_once(':').map_or(word, |(secret, _)| secret);
                Ok((name.clone(), self.secrets.get(secret)?.to_owned()))
            }
            None => Ok((name.clone(), value.clone())),
        };
        env.iter().map(one).collect()
    }

    /// Replaces the words that stand for secrets in a text of JSON by JSON's texts of them.
    fn with_json(&self, text: &str) -> Result<String, Fault> {
        let mut parts = text.split(JSON_SECRET_PREFIX);
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let mut words = part.splitn(3, ':');
            let (Some(name), Some(_), Some(rest)) = (words.next(), words.next(), words.next()) else {
                return Err(Fault::farm("the word of a secret in JSON is incomplete"));
            };
            out.push_str(&serde_json::Value::from(self.secrets.get(name)?).to_string());
            out.push_str(rest);
        }
        Ok(out)
    }

    /// Replaces the words that stand for wireless keys by the keys: PBKDF2 of passphrase and network name, as
    /// IEEE 802.11i (annex H.4) and wpa_passphrase derive them; 64 hexadecimal digits are a key already.
    fn with_keys(&self, text: &str) -> Result<String, Fault> {
        let mut parts = text.split(PSK_PREFIX);
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let mut words = part.splitn(4, ':');
            let (Some(name), Some(_), Some(ssid), Some(rest)) =
                (words.next(), words.next(), words.next(), words.next())
            else {
                return Err(Fault::farm("a wireless key's word is incomplete"));
            };
            out.push_str(&wireless_key(self.secrets.get(name)?, ssid)?);
            out.push_str(rest);
        }
        Ok(out)
    }
}

fn wireless_key(secret: &str, ssid_hex: &str) -> Result<String, Fault> {
    if secret.len() == 64 && secret.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(secret.to_owned());
    }
    if !(8..=63).contains(&secret.len()) {
        return Err(Fault::recipe("a wireless passphrase has 8 to 63 characters"));
    }
    let ssid: Vec<u8> =
        (0..ssid_hex.len() / 2).filter_map(|at| u8::from_str_radix(&ssid_hex[at * 2..at * 2 + 2], 16).ok()).collect();
    let mut key = [0; 32];
    pbkdf2::pbkdf2_hmac::<sha1::Sha1>(secret.as_bytes(), &ssid, 4096, &mut key);
    Ok(key.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of IEEE 802.11i, annex H.4.3.
    #[test]
    fn keys_are_the_standards() {
        let ieee = wireless_key("password", "49454545").unwrap();
        assert_eq!(ieee, "f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e");
        assert!(wireless_key("short", "49454545").is_err());
    }
}
