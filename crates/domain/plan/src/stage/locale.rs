//! Locale and keyboard.

use kiln_model::action::PackageRef;
use kiln_model::{Action, RunIn, Stage, StageKind};
use kiln_recipe::spec::{Keyboard, System};

use super::{install, of, script_environment};
use crate::Inputs;
use crate::context::write;

pub fn locale(inputs: &Inputs<'_>) -> Option<Stage> {
    let system = &inputs.spec.system;
    if inputs.is_apk() {
        return of(StageKind::Locale, apk(system));
    }
    let mut actions = generate(inputs);
    let default = format!("LANG={}\n", system.locale);
    actions.push(write("/etc/locale.conf", default.as_str()));
    actions.push(Action::Mkdir { path: crate::context::path("/etc/default"), mode: 0o755, owner: Default::default() });
    actions.push(write("/etc/default/locale", default));
    actions.extend(system.keyboard.as_ref().into_iter().flat_map(keyboard));
    let plain = system.locale == "C.UTF-8" && actions.len() == 3 && !inputs.has_kernel();
    if plain { None } else { of(StageKind::Locale, actions) }
}

/// musl knows UTF-8 and nothing else of locales; what programs say in is read from here by login shells.
fn apk(system: &System) -> Vec<Action> {
    let text = format!("export LANG={}\n", system.locale);
    if built_in(&system.locale) { vec![] } else { vec![write("/etc/profile.d/10kiln-locale.sh", text)] }
}

/// Whether glibc has the locale without generating it.
fn built_in(locale: &str) -> bool {
    matches!(locale, "C" | "POSIX" | "C.UTF-8" | "C.utf8")
}

/// Returns the packages that make locales. They are installed here, once the base works: their scripts ask for what an
/// essential package has (`awk`) without saying so, and a changed locale leaves the base alone. Where the base is that of a tree, what
/// is newer of it comes with them: they want the libc that they were made with.
pub fn packages(inputs: &Inputs<'_>) -> Vec<PackageRef> {
    if inputs.is_apk() || wanted(inputs).is_empty() {
        return vec![];
    }
    inputs.further(|locked| locked.base || ["locales", "libc-l10n"].contains(&locked.name.as_str()))
}

/// Returns the locales to make, sorted.
fn wanted<'a>(inputs: &Inputs<'a>) -> Vec<&'a String> {
    let system = &inputs.spec.system;
    let mut wanted: Vec<_> =
        std::iter::once(&system.locale).chain(&system.locales).filter(|name| !built_in(name)).collect();
    wanted.sort();
    wanted.dedup();
    wanted
}

fn generate(inputs: &Inputs<'_>) -> Vec<Action> {
    let wanted = wanted(inputs);
    if wanted.is_empty() || !inputs.has("locales") {
        return vec![];
    }
    // The recipe knows UTF-8 locales only, some of which glibc names without saying so: `hi_IN`.
    let lines: String = wanted.iter().map(|name| format!("{name} UTF-8\n")).collect();
    let argv = ["/usr/sbin/locale-gen", "--keep-existing"].map(str::to_owned).into();
    let env = script_environment(inputs.epoch());
    let mut actions = install(packages(inputs), &[], inputs.epoch());
    actions.push(write("/etc/locale.gen", lines));
    actions.push(Action::Run { name: "locale-gen".into(), r#in: RunIn::Target, argv, env, stdin: None, files: None });
    actions
}

fn keyboard(keyboard: &Keyboard) -> [Action; 2] {
    let Keyboard { layout, variant, model } = keyboard;
    let text = format!(
        "XKBMODEL=\"{model}\"\nXKBLAYOUT=\"{layout}\"\nXKBVARIANT=\"{variant}\"\nXKBOPTIONS=\"\"\nBACKSPACE=\"guess\"\n"
    );
    let console = format!("KEYMAP={layout}\nXKBLAYOUT={layout}\nXKBMODEL={model}\nXKBVARIANT={variant}\n");
    [write("/etc/default/keyboard", text), write("/etc/vconsole.conf", console)]
}
