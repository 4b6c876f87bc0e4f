//! The image's own package sources and their keys; the indexes themselves are not kept in images.

use kiln_model::{Action, Stage, StageKind};
use kiln_recipe::spec::{Repository, Trust};

use super::of;
use crate::context::write;
use crate::{Inputs, apk};

pub fn indexes(inputs: &Inputs<'_>) -> Option<Stage> {
    let base = &inputs.spec.base;
    if inputs.is_apk() {
        return of(StageKind::Indexes, apk(inputs));
    }
    let listed: Vec<_> = base.repositories.iter().filter(|repository| repository.in_image).collect();
    if listed.is_empty() || !inputs.has("apt") {
        return None;
    }
    let stanzas: Vec<_> = listed.iter().map(|repository| stanza(repository)).collect();
    let mut actions: Vec<_> = listed.iter().filter_map(|repository| key(repository)).collect();
    let file = format!("/etc/apt/sources.list.d/{}.sources", base.distribution);
    actions.push(write(&file, stanzas.join("\n")));
    actions.extend(preferences(inputs, &listed));
    of(StageKind::Indexes, actions)
}

/// `/etc/apk`: the lists, and the keys that the recipe brings for them.
fn apk(inputs: &Inputs<'_>) -> Vec<Action> {
    let base = &inputs.spec.base;
    let lines: String = apk::repositories(inputs).iter().map(|line| format!("{line}\n")).collect();
    let mut actions = vec![
        write("/etc/apk/arch", format!("{}\n", base.architecture.alpine())),
        write("/etc/apk/repositories", lines),
    ];
    let mut keys: Vec<_> = base.repositories.iter().filter(|repository| repository.in_image).filter_map(key).collect();
    keys.dedup();
    actions.extend(keys);
    actions
}

/// A deb822 source as sources.list(5) describes it.
fn stanza(repository: &Repository) -> String {
    let mut text = format!("Types: deb\nURIs: {}\nSuites: {}\n", repository.uri_in_image, repository.suite);
    if !repository.components.is_empty() {
        text.push_str(&format!("Components: {}\n", repository.components.join(" ")));
    }
    match (&repository.trust, &repository.signed_by) {
        (Trust::Unsigned, _) => text.push_str("Trusted: yes\n"),
        (_, Some(path)) => text.push_str(&format!("Signed-By: {path}\n")),
        (_, None) => {}
    }
    text
}

/// The recipe's own keys travel with the image; the distribution's come in its keyring package.
fn key(repository: &Repository) -> Option<Action> {
    let (Trust::Keys { armored, .. }, Some(path)) = (&repository.trust, &repository.signed_by) else { return None };
    Some(write(path, armored.as_str()))
}

/// Priorities other than apt's own are written down for the device's apt as well.
fn preferences(inputs: &Inputs<'_>, listed: &[&Repository]) -> Option<Action> {
    let said = listed.iter().filter(|repository| repository.priority != 500);
    let text: Vec<_> = said
        .map(|repository| {
            let (pin, priority) = (pin(inputs, repository), repository.priority);
            format!("Package: *\nPin: {pin}\nPin-Priority: {priority}\n")
        })
        .collect();
    (!text.is_empty()).then(|| write("/etc/apt/preferences.d/kiln.pref", text.join("\n")))
}

/// Names a repository as apt_preferences(5) wants it: by what its release file calls itself, since several repositories of
/// different priorities may be on one host, else by that host, which apt knows without its port.
fn pin(inputs: &Inputs<'_>, repository: &Repository) -> String {
    let locked = inputs.lock.repositories.iter().find(|locked| locked.name == repository.name);
    let names = locked.map(|locked| [("o", &locked.origin), ("l", &locked.label), ("n", &locked.codename)]);
    let names = names.into_iter().flatten().filter_map(|(key, name)| Some((key, name.as_ref()?)));
    let names: Vec<_> =
        names.filter(|(_, name)| !name.contains(',')).map(|(key, name)| format!("{key}={name}")).collect();
    if !names.is_empty() {
        return format!("release {}", names.join(","));
    }
    let host = repository.uri_in_image.split("//").nth(1).and_then(|rest| rest.split(['/', ':']).next());
    format!("origin \"{}\"", host.unwrap_or_default())
}
