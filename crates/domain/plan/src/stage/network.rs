//! Hostname, interfaces, name servers, wireless.

use kiln_model::{Action, Stage, StageKind};
use kiln_recipe::spec::{Interface, Network, NetworkBackend, Point};

use super::{cloud_init, mender, of, openrc, scripts, wifi};
use crate::Inputs;
use crate::context::{symlink, write};

pub fn network(inputs: &Inputs<'_>) -> Option<Stage> {
    let hostname = &inputs.spec.system.hostname;
    let mut actions = vec![write("/etc/hostname", format!("{hostname}\n")), write("/etc/hosts", hosts(hostname))];
    actions.extend(interfaces(inputs));
    actions.extend(resolver(inputs));
    actions.extend(wifi::actions(inputs));
    actions.extend(cloud_init::actions(inputs));
    actions.extend(mender::client(inputs));
    actions.extend(scripts::at(inputs, Point::Network));
    of(StageKind::Network, actions)
}

fn hosts(hostname: &str) -> String {
    let names = match hostname.split_once('.') {
        Some((short, _)) => format!("{hostname} {short}"),
        None => hostname.to_owned(),
    };
    format!(
        "127.0.0.1\tlocalhost\n127.0.1.1\t{names}\n::1\t\tlocalhost ip6-localhost ip6-loopback\n\
         ff02::1\t\tip6-allnodes\nff02::2\t\tip6-allrouters\n"
    )
}

fn interfaces(inputs: &Inputs<'_>) -> Vec<Action> {
    let network = &inputs.spec.network;
    match network.backend {
        NetworkBackend::None => vec![],
        NetworkBackend::Networkd => networkd(inputs),
        NetworkBackend::Ifupdown if inputs.is_apk() => alpine(network),
        NetworkBackend::Ifupdown => {
            let stanzas: String = network.interfaces.iter().map(|one| ifupdown(one, network)).collect();
            vec![write("/etc/network/interfaces", format!("auto lo\niface lo inet loopback\n{stanzas}"))]
        }
    }
}

/// busybox reads no patterns and knows no wireless; its kernel calls the first wired interface `eth0`.
fn alpine(network: &Network) -> Vec<Action> {
    let named = network.interfaces.iter().filter_map(|one| {
        let name = match one.name.as_str() {
            "en*" => return None,
            name => name.replace('*', "0"),
        };
        Some(Interface { name, required: true, ..one.clone() })
    });
    let plain = Network { wifi: vec![], ..network.clone() };
    let stanzas: String = named.map(|one| ifupdown(&one, &plain)).collect();
    vec![
        write("/etc/network/interfaces", format!("auto lo\niface lo inet loopback\n{stanzas}")),
        openrc::starts("boot", &["networking"]),
    ]
}

/// One systemd.network(5) file an interface, and the service enabled.
fn networkd(inputs: &Inputs<'_>) -> Vec<Action> {
    let network = &inputs.spec.network;
    let mut actions: Vec<_> = network
        .interfaces
        .iter()
        .enumerate()
        .map(|(number, interface)| {
            let stem: String = interface.name.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
            let text = networkd_file(interface, &network.search);
            write(&format!("/etc/systemd/network/{:02}-{stem}.network", 20 + number), text)
        })
        .collect();
    if !actions.is_empty() {
        let enable = vec!["systemd-networkd.service".to_owned()];
        actions.push(Action::Services { enable, disable: vec![], mask: vec![] });
    }
    actions
}

fn networkd_file(interface: &Interface, search: &[String]) -> String {
    let mut text = format!("[Match]\nName={}\n\n[Link]\n", interface.name);
    text.push_str(if interface.required { "RequiredForOnline=yes\n" } else { "RequiredForOnline=no\n" });
    text.push_str("\n[Network]\n");
    let mut line = |key: &str, value: &str| text.push_str(&format!("{key}={value}\n"));
    if interface.dhcp {
        line("DHCP", "yes");
    }
    interface.addresses.iter().for_each(|address| line("Address", address));
    interface.gateway.iter().for_each(|gateway| line("Gateway", gateway));
    interface.dns.iter().for_each(|dns| line("DNS", dns));
    if !search.is_empty() {
        line("Domains", &search.join(" "));
    }
    text
}

/// interfaces(5).
fn ifupdown(interface: &Interface, network: &Network) -> String {
    let name = &interface.name;
    // What may be missing is brought up when it appears, and nobody waits for it.
    let when = if interface.required { "auto" } else { "allow-hotplug" };
    let joins = wifi::joins(network, name).map(|file| format!("    wpa-conf {file}\n")).unwrap_or_default();
    if interface.dhcp {
        return format!("\n{when} {name}\niface {name} inet dhcp\n{joins}");
    }
    let one = |address: &String| {
        let family = if address.contains(':') { "inet6" } else { "inet" };
        format!("\n{when} {name}\niface {name} {family} static\n{joins}    address {address}\n")
    };
    let mut text: String = interface.addresses.iter().map(one).collect();
    interface.gateway.iter().for_each(|gateway| text.push_str(&format!("    gateway {gateway}\n")));
    text
}

/// `/etc/resolv.conf`: systemd-resolved's where the image has it, else the recipe's name servers.
fn resolver(inputs: &Inputs<'_>) -> Vec<Action> {
    let network = &inputs.spec.network;
    if inputs.has("systemd-resolved") {
        let mut actions = vec![symlink("/etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf")];
        if !network.dns.is_empty() {
            let text = format!("[Resolve]\nDNS={}\n", network.dns.join(" "));
            actions.push(write("/etc/systemd/resolved.conf.d/50-kiln.conf", text));
        }
        return actions;
    }
    let servers = network.dns.iter().map(|server| format!("nameserver {server}\n"));
    let search = (!network.search.is_empty()).then(|| format!("search {}\n", network.search.join(" ")));
    let text: String = search.into_iter().chain(servers).collect();
    if network.dns.is_empty() {
        return vec![];
    }
    // Else busybox's DHCP client writes what it was told.
    let kept = inputs.is_apk().then(|| write("/etc/udhcpc/udhcpc.conf", "RESOLV_CONF=\"no\"\n"));
    std::iter::once(write("/etc/resolv.conf", text)).chain(kept).collect()
}

#[cfg(test)]
mod tests {
    use kiln_recipe::spec::Wifi;

    use super::*;

    /// wpasupplicant's hook of ifupdown reads `wpa-conf`.
    #[test]
    fn without_systemd_an_interface_says_how_it_joins() {
        let interface = |name: &str, addresses: &[&str], required| Interface {
            name: name.into(),
            dhcp: addresses.is_empty(),
            addresses: addresses.iter().map(|&address| address.to_owned()).collect(),
            gateway: (!addresses.is_empty()).then(|| "192.0.2.1".to_owned()),
            dns: vec![],
            required,
        };
        let wifi = vec![Wifi { ssid: "home".into(), psk: None, hidden: false }];
        let network = |wifi| Network {
            backend: NetworkBackend::Ifupdown,
            interfaces: vec![],
            dns: vec![],
            search: vec![],
            wifi,
            wifi_country: None,
        };
        let radio = interface("wlan0", &[], false);
        assert_eq!(ifupdown(&radio, &network(vec![])), "\nallow-hotplug wlan0\niface wlan0 inet dhcp\n");
        let joins = "    wpa-conf /etc/wpa_supplicant/wpa_supplicant-wlan0.conf\n";
        let wanted = format!("\nallow-hotplug wlan0\niface wlan0 inet dhcp\n{joins}");
        assert_eq!(ifupdown(&radio, &network(wifi.clone())), wanted);
        // A pattern has no file of its own.
        let pattern = ifupdown(&interface("wl*", &[], true), &network(wifi.clone()));
        assert_eq!(pattern, format!("\nauto wl*\niface wl* inet dhcp\n{joins}"));
        assert_eq!(
            ifupdown(&interface("eth0", &["192.0.2.2/24"], true), &network(wifi)),
            "\nauto eth0\niface eth0 inet static\n    address 192.0.2.2/24\n    gateway 192.0.2.1\n"
        );
    }
}
