//! Hosts, interfaces, addresses, wireless.

use std::net::IpAddr;

use super::expect;
use crate::shape::{Form, Wrong};

pub static HOSTNAME: Form = Form {
    what: "a host name",
    pattern: Some(r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$"),
    check: hostname,
    hint: None,
};

/// RFC 1123; 64 bytes are what the kernel holds.
fn hostname(text: &str) -> Result<(), Wrong> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    expect(text.len() <= 64 && text.split('.').all(label), || {
        let clean: String = text.to_lowercase().chars().map(|c| if c == '_' || c == ' ' { '-' } else { c }).collect();
        let hint = (clean != text && hostname(&clean).is_ok()).then(|| format!("did you mean `{clean}`?"));
        Wrong::new(format!("`{text}` is not a host name"))
            .label("expected letters, digits and inner `-`, at most 64 in all")
            .maybe_hint(hint)
    })
}

pub static INTERFACE: Form = Form {
    what: "an interface or a pattern of them, such as \"en*\"",
    pattern: Some(r"^[A-Za-z0-9_.:*?\[\]@-]{1,15}$"),
    check: |text| {
        let fine = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:*?[]@-".contains(&b));
        expect(fine && (1..=15).contains(&text.len()), || Wrong::new(format!("`{text}` is not a network interface")))
    },
    hint: None,
};

pub static ADDRESS: Form = Form {
    what: "an address with its prefix length, such as \"192.0.2.2/24\"",
    pattern: Some(r"^[0-9A-Fa-f.:]+/[0-9]{1,3}$"),
    check: |text| {
        let split =
            text.split_once('/').and_then(|(ip, len)| Some((ip.parse::<IpAddr>().ok()?, len.parse::<u8>().ok()?)));
        let fine = split.is_some_and(|(ip, len)| len <= if ip.is_ipv4() { 32 } else { 128 });
        expect(fine, || {
            let bare = text.parse::<IpAddr>().is_ok();
            let hint = bare.then(|| format!("say the prefix length too: \"{text}/24\""));
            Wrong::new(format!("`{text}` is not an address with its prefix length")).maybe_hint(hint)
        })
    },
    hint: None,
};

pub static IP: Form = Form {
    what: "an IP address",
    pattern: Some(r"^[0-9A-Fa-f.:]+$"),
    check: |text| expect(text.parse::<IpAddr>().is_ok(), || Wrong::new(format!("`{text}` is not an IP address"))),
    hint: None,
};

pub static DOMAIN: Form =
    Form { what: "a domain", pattern: None, check: |text| hostname(text.trim_end_matches('.')), hint: None };

pub static SSID: Form = Form {
    what: "a network's name of 1 to 32 bytes",
    pattern: None,
    check: |text| {
        let fine = (1..=32).contains(&text.len()) && !text.contains(|c: char| c.is_control());
        expect(fine, || {
            Wrong::new(format!("`{text}` is not the name of a wireless network")).label("expected 1 to 32 bytes")
        })
    },
    hint: None,
};

pub static COUNTRY: Form = Form {
    what: "a country's two capitals, such as \"DE\"",
    pattern: Some(r"^[A-Z]{2}$"),
    check: |text| {
        let upper = text.to_uppercase();
        let two = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase());
        expect(two(text), || {
            let hint = two(&upper).then(|| format!("did you mean `{upper}`?"));
            Wrong::new(format!("`{text}` is not a country's two capitals")).maybe_hint(hint)
        })
    },
    hint: None,
};
