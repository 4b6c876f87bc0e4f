//! `[network]`: interfaces, name servers, wireless.

use super::base::Ground;
use super::secrets::Secrets;
use crate::catalogue::release::Init;
use crate::desk::{Desk, Note};
use crate::forms::{ADDRESS, COUNTRY, DOMAIN, INTERFACE, IP, SSID};
use crate::needs::Needs;
use crate::shape::{Shape, Table, key};
use crate::spec::{Interface, Network, NetworkBackend, Wifi};
use crate::view::{Said, View};

pub static KEYS: Table = Table {
    name: "[network]",
    doc: "How the image reaches others. Without this section only the host name is written.",
    keys: &[
        key("dhcp", Shape::Bool, "Whether every wired interface asks for its address.")
            .default("false")
            .example("true"),
        key("interface", Shape::Tables(&INTERFACE_KEYS), ""),
        key("dns", Shape::List(&Shape::Text(&IP)), "Name servers.")
            .default("as DHCP says")
            .example("[\"192.0.2.53\"]")
            .replaces(),
        key("search", Shape::List(&Shape::Text(&DOMAIN)), "Domains to complete short names with.").replaces(),
        key("wifi", Shape::Tables(&WIFI_KEYS), ""),
        key("wifi-country", Shape::Text(&COUNTRY), "The country whose radio rules hold: two capitals.")
            .example("\"DE\""),
    ],
    more: None,
};

static INTERFACE_KEYS: Table = Table {
    name: "[[network.interface]]",
    doc: "One interface, or all that a pattern matches.",
    keys: &[
        key("name", Shape::Text(&INTERFACE), "Its name or a pattern: `eth0`, `en*`.").here().example("\"en*\""),
        key("dhcp", Shape::Bool, "Whether it asks for its address.").default("false"),
        key("addresses", Shape::List(&Shape::Text(&ADDRESS)), "Its addresses with prefix lengths.")
            .example("[\"192.0.2.2/24\"]"),
        key("gateway", Shape::Text(&IP), "The router to everywhere else.").example("\"192.0.2.1\""),
        key("dns", Shape::List(&Shape::Text(&IP)), "Name servers behind it."),
        key("required", Shape::Bool, "Whether the boot waits for it where something needs the network.")
            .default("true"),
    ],
    more: None,
};

static WIFI_KEYS: Table = Table {
    name: "[[network.wifi]]",
    doc: "A wireless network to join. Where no interface `wl…` is said, `wlan0` gets its address by DHCP.",
    keys: &[
        key("ssid", Shape::Text(&SSID), "Its name.").here().example("\"home\""),
        key("psk", Shape::Secret, "Its passphrase, by reference; an open network has none.")
            .example("{ secret = \"wifi\" }"),
        key("hidden", Shape::Bool, "Whether it does not tell its name by itself.").default("false"),
    ],
    more: None,
};

pub fn read(root: View<'_>, ground: &Ground, secrets: &Secrets<'_>, needs: &Needs, desk: &Desk<'_>) -> Network {
    let view = root.section("network");
    let mut interfaces = interfaces(view, desk);
    let wifi = wifi(view, secrets, needs, desk);
    if !wifi.is_empty() && !interfaces.iter().any(|interface| interface.name.starts_with("wl")) {
        interfaces.push(Interface { required: false, ..shorthand("wlan0") });
    }
    let backend = backend(&interfaces, ground);
    let network = Network {
        backend,
        interfaces,
        dns: view.strings("dns"),
        search: view.strings("search"),
        wifi,
        wifi_country: view.string("wifi-country"),
    };
    match backend {
        NetworkBackend::None => {}
        NetworkBackend::Networkd => networkd_needs(&network, needs, view),
        NetworkBackend::Ifupdown => needs.feature("ifupdown", "`[network]`", view.span),
    }
    network
}

fn backend(interfaces: &[Interface], ground: &Ground) -> NetworkBackend {
    match (interfaces.is_empty(), ground.release.init) {
        (true, _) => NetworkBackend::None,
        (false, Init::Systemd) => NetworkBackend::Networkd,
        (false, Init::Sysvinit | Init::Openrc) => NetworkBackend::Ifupdown,
    }
}

/// Name servers that DHCP or a link brings need someone to write them down.
fn networkd_needs(network: &Network, needs: &Needs, view: View<'_>) {
    needs.feature("networkd", "`[network]`", view.span);
    let by_dhcp = network.dns.is_empty() && network.interfaces.iter().any(|interface| interface.dhcp);
    let by_link = network.interfaces.iter().any(|interface| !interface.dns.is_empty());
    if by_dhcp || by_link {
        needs.feature("resolved", "name servers from DHCP", view.span);
    }
}

fn interfaces(view: View<'_>, desk: &Desk<'_>) -> Vec<Interface> {
    let mut found: Vec<Interface> = Vec::new();
    let mut names: Vec<Said<&str>> = Vec::new();
    for interface in view.tables("interface") {
        let name = interface.text("name");
        if let Some(name) = name {
            if let Some(first) = names.iter().find(|other| other.value == name.value) {
                let message = format!("there are two interfaces `{}`", name.value);
                desk.say(Note::error(name.span, "duplicate", message).also(first.span, "first here"));
            }
            names.push(name);
        }
        found.push(one(interface, name, desk));
    }
    let Some(span) = view.key_span("dhcp").filter(|_| view.bool("dhcp") == Some(true)) else { return found };
    if let Some(first) = names.first() {
        let message = "`dhcp` is for all wired interfaces, and `[[network.interface]]` for each by itself";
        let note = Note::error(span, "contradiction", message).also(first.span, "an interface by itself");
        desk.say(note.hint("say `dhcp = true` in each interface that it is meant for"));
    }
    found.extend(["en*", "eth*"].map(shorthand));
    found
}

/// `en*` is what systemd calls wired interfaces, `eth*` what the kernel does.
fn shorthand(name: &str) -> Interface {
    Interface { name: name.into(), dhcp: true, addresses: vec![], gateway: None, dns: vec![], required: true }
}

fn one(view: View<'_>, name: Option<Said<&str>>, desk: &Desk<'_>) -> Interface {
    let dhcp = view.bool("dhcp").unwrap_or(false);
    let shown = name.map_or("", |name| name.value);
    let span = name.map_or(view.span, |name| name.span);
    // A `dhcp` of the wrong type was told already.
    let refused = view.has("dhcp") && view.bool("dhcp").is_none();
    if !dhcp && !refused && !view.has("addresses") {
        let message = format!("interface `{shown}` has no address: neither `dhcp = true` nor `addresses`");
        let note = Note::error(span, "contradiction", message);
        desk.say(note.hint("for example: addresses = [\"192.0.2.2/24\"]"));
    }
    if let (Some(gateway), false) = (view.key_span("gateway"), view.has("addresses")) {
        let message = format!("interface `{shown}` has a gateway but no address of its own");
        desk.say(Note::error(gateway, "contradiction", message).hint("DHCP brings its own gateway"));
    }
    Interface {
        name: shown.to_owned(),
        dhcp,
        addresses: view.strings("addresses"),
        gateway: view.string("gateway"),
        dns: view.strings("dns"),
        required: view.bool("required").unwrap_or(true),
    }
}

fn wifi(view: View<'_>, secrets: &Secrets<'_>, needs: &Needs, desk: &Desk<'_>) -> Vec<Wifi> {
    let networks = view.tables("wifi");
    if let Some(first) = networks.first() {
        needs.feature("wifi", "`[[network.wifi]]`", first.span);
        if !view.has("wifi-country") {
            let message = "Wi-Fi without `wifi-country`: only channels that are free everywhere can be used";
            let note = Note::warning(first.span, "wifi-without-country", message);
            desk.say(note.hint("add to `[network]`: wifi-country = \"DE\""));
        }
    } else if let Some(span) = view.key_span("wifi-country") {
        desk.say(Note::warning(span, "without-effect", "`wifi-country` without any `[[network.wifi]]`"));
    }
    let read = |wifi: &View<'_>| Wifi {
        ssid: wifi.string("ssid").unwrap_or_default(),
        psk: wifi.secret("psk").map(|said| secrets.used(said, desk)),
        hidden: wifi.bool("hidden").unwrap_or(false),
    };
    networks.iter().map(read).collect()
}
