//! `[network]`: DHCP everywhere, the name servers chosen, wireless.

use super::Work;
use crate::language::pieman::tree::Tree;
use crate::node::Span;

/// The choices of name servers, in Pieman's order.
static CHOICES: &[(&str, &[&str])] = &[
    ("ENABLE_GOOGLE_DNS", &["8.8.8.8", "8.8.4.4"]),
    ("ENABLE_BASIC_YANDEX_DNS", &["77.88.8.8", "77.88.8.1"]),
    ("ENABLE_FAMILY_YANDEX_DNS", &["77.88.8.7", "77.88.8.3"]),
];

impl Work<'_> {
    pub(super) fn network(&mut self) {
        let span = self.parameters.span("ENABLE_WIRELESS");
        if self.parameters.is_on("ENABLE_WIRELESS") && self.parameters.text("WPA_SSID").is_empty() {
            self.interfaces(span);
        } else {
            self.tree.set("network.dhcp", true, span);
        }
        for (address, span) in self.name_servers() {
            self.tree.item("network.dns", address, span);
        }
        self.wifi();
    }

    /// Wireless without a network: the interface asks for an address as soon as somebody sets it up.
    fn interfaces(&mut self, span: Span) {
        for name in ["en*", "eth*", "wlan0"] {
            let mut interface = Tree::default();
            interface.set("name", name, span);
            interface.set("dhcp", true, span);
            if name == "wlan0" {
                interface.set("required", false, span);
            }
            self.tree.add("network.interface", interface, span);
        }
    }

    fn name_servers(&self) -> Vec<(String, Span)> {
        match CHOICES.iter().find(|(name, _)| self.parameters.is_on(name)) {
            Some((name, addresses)) => {
                addresses.iter().map(|address| (address.to_string(), self.parameters.span(name))).collect()
            }
            None if self.parameters.text("ENABLE_CUSTOM_DNS") == "false" => Vec::new(),
            None => self.parameters.parts("ENABLE_CUSTOM_DNS", &[' ', ',']),
        }
    }

    fn wifi(&mut self) {
        let (name, span) = (self.parameters.text("WPA_SSID"), self.parameters.span("WPA_SSID"));
        if !self.parameters.is_on("ENABLE_WIRELESS") || name.is_empty() {
            return;
        }
        let mut wifi = Tree::default();
        wifi.set("ssid", name, span);
        let passphrase = self.parameters.text("WPA_PSK").to_owned();
        if !passphrase.is_empty() {
            let reference = self.secret("WPA_PSK", passphrase);
            wifi.set("psk", reference, self.parameters.span("WPA_PSK"));
        }
        self.tree.add("network.wifi", wifi, span);
    }
}
