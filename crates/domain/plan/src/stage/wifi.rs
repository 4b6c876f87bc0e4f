//! Wireless networks: wpa_supplicant's configuration, and its service for the wireless interfaces.

use kiln_model::Action;
use kiln_model::action::{Content, Owner};
use kiln_recipe::spec::{Network, NetworkBackend, Wifi};

use crate::Inputs;
use crate::context::{path, symlink, write, write_mode};

/// Marks where the engine puts a network's key; what stands there in the file is the 256-bit key in hexadecimal.
pub const PSK_PREFIX: &str = "kiln-psk:";

pub fn actions(inputs: &Inputs<'_>) -> Vec<Action> {
    let network = &inputs.spec.network;
    if network.wifi.is_empty() {
        return vec![];
    }
    let country = network.wifi_country.iter().map(|country| format!("country={country}\n"));
    let head = "ctrl_interface=DIR=/run/wpa_supplicant GROUP=netdev\nupdate_config=1\n".to_owned();
    let networks = network.wifi.iter().map(|wifi| stanza(inputs, wifi));
    let text: String = std::iter::once(head).chain(country).chain(networks).collect();
    if inputs.is_apk() {
        // One service for all interfaces.
        let file = write_mode("/etc/wpa_supplicant/wpa_supplicant.conf", text, 0o600);
        return vec![file, super::openrc::starts("boot", &["wpa_supplicant"])];
    }
    let names = interfaces(network);
    let mut actions = vec![Action::Mkdir { path: path("/etc/wpa_supplicant"), mode: 0o755, owner: Owner::default() }];
    actions.extend(names.iter().map(|name| write_mode(&configuration(name), text.as_str(), 0o600)));
    if network.backend != NetworkBackend::Networkd {
        // ifupdown starts it, and no link file names its interfaces.
        return actions;
    }
    actions.extend(names.iter().map(|name| started_by(name)));
    if names.contains(&FIRST) {
        actions.push(write("/etc/systemd/network/10-wlan.link", KERNEL_NAMES));
    }
    actions
}

/// Returns the interfaces that have a supplicant each: those that are named, else the kernel's first.
fn interfaces(network: &Network) -> Vec<&str> {
    let wireless = network.interfaces.iter().map(|interface| interface.name.as_str()).filter(|name| is_wireless(name));
    let named: Vec<_> = wireless.filter(|name| !name.contains('*')).collect();
    if named.is_empty() { vec![FIRST] } else { named }
}

fn is_wireless(name: &str) -> bool {
    name.starts_with("wl")
}

const FIRST: &str = "wlan0";

/// Returns the file by which an interface joins a network, if it is one that does; all files say the same.
pub fn joins(network: &Network, interface: &str) -> Option<String> {
    if network.wifi.is_empty() || !is_wireless(interface) {
        return None;
    }
    let names = interfaces(network);
    let own = names.iter().find(|name| **name == interface).or(names.first())?;
    Some(configuration(own))
}

fn configuration(interface: &str) -> String {
    format!("/etc/wpa_supplicant/wpa_supplicant-{interface}.conf")
}

/// The interface starts its service when it appears. Were the service enabled as its package has it, a boot without the
/// interface would wait for it a minute and a half, and longer than for the login prompt.
fn started_by(name: &str) -> Action {
    let name = name.replace('-', "\\x2d");
    let unit = "/usr/lib/systemd/system/wpa_supplicant@.service";
    let folder = format!("/etc/systemd/system/sys-subsystem-net-devices-{name}.device.wants");
    symlink(&format!("{folder}/wpa_supplicant@{name}.service"), unit)
}

/// Who says `wlan0` means it, where systemd would call it by its place in the machine.
const KERNEL_NAMES: &str = "[Match]\nType=wlan\n\n[Link]\nNamePolicy=\n";

fn stanza(inputs: &Inputs<'_>, wifi: &Wifi) -> String {
    let ssid: String = wifi.ssid.bytes().map(|byte| format!("{byte:02x}")).collect();
    let hidden = if wifi.hidden { "    scan_ssid=1\n" } else { "" };
    let key = match &wifi.psk {
        None => "    key_mgmt=NONE\n".to_owned(),
        Some(secret) => format!("    psk={}\n", psk_word(inputs, secret, &ssid)),
    };
    format!("network={{\n    ssid={ssid}\n{hidden}{key}}}\n")
}

/// `kiln-psk:SECRET:FINGERPRINT:SSID-IN-HEX:` until the file is written.
fn psk_word(inputs: &Inputs<'_>, secret: &str, ssid: &str) -> String {
    let Content::Secret { name, fingerprint } = inputs.secret(secret) else { unreachable!("`secret` returns one") };
    format!("{PSK_PREFIX}{name}:{fingerprint}:{ssid}:")
}
