//! `[packages]`: what is asked for, and what Pieman installs everywhere.

use super::Work;
use crate::language::pieman::pair::Word;
use crate::node::Span;
use crate::spec::Family;

/// What every image of Pieman's has, and kiln's own parts do not bring.
const EVERYWHERE: [&str; 3] = ["netbase", "net-tools", "inetutils-ping"];

impl Work<'_> {
    /// Packages in Pieman's order, each once; recommended ones come along, as with `apt-get install`.
    pub(super) fn packages(&mut self) {
        let mut all: Vec<(String, Span)> = self.parameters.parts("INCLUDES", &[',']);
        let (os, includes) = (self.parameters.span("OS"), self.parameters.span("INCLUDES"));
        if self.parameters.is_on("ENABLE_SUDO") {
            all.push(("sudo".into(), self.parameters.span("ENABLE_SUDO")));
        }
        let deb = self.target.release.family == Family::Deb;
        if deb {
            all.extend(EVERYWHERE.map(|name| (name.to_owned(), os)));
        }
        if deb && self.parameters.is_on("ENABLE_WIRELESS") {
            all.push(("wpasupplicant".into(), self.parameters.span("ENABLE_WIRELESS")));
        }
        let pair = self.pair.iter().flat_map(|pair| pair.base.iter().chain(&pair.includes));
        all.extend(pair.flat_map(words));
        if self.parameters.is_on("XFCE4") {
            let span = self.parameters.span("XFCE4");
            all.extend(["xfce4", "lxdm", "xfce4-goodies"].map(|name| (name.to_owned(), span)));
        }
        if deb {
            self.tree.set("packages.recommends", true, includes);
        }
        let mut seen: Vec<String> = Vec::new();
        for (name, span) in all {
            if !seen.contains(&name) {
                self.tree.item("packages.include", name.as_str(), span);
                seen.push(name);
            }
        }
    }
}

/// A word of a definition may hold several packages.
fn words(word: &Word) -> Vec<(String, Span)> {
    let parts = word.text.split([',', ' ']).filter(|part| !part.is_empty());
    parts.map(|part| (part.to_owned(), word.span)).collect()
}
