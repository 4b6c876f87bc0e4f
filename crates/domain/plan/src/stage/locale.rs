//! Locale and keyboard.

use kiln_model::{Action, RunIn, Stage, StageKind};
use kiln_recipe::spec::Keyboard;

use super::{of, script_environment};
use crate::Inputs;
use crate::context::write;

pub fn locale(inputs: &Inputs<'_>) -> Option<Stage> {
    let system = &inputs.spec.system;
    let mut actions = generate(inputs);
    let default = format!("LANG={}\n", system.locale);
    actions.push(write("/etc/locale.conf", default.as_str()));
    actions.push(Action::Mkdir { path: crate::context::path("/etc/default"), mode: 0o755, owner: Default::default() });
    actions.push(write("/etc/default/locale", default));
    actions.extend(system.keyboard.as_ref().into_iter().flat_map(keyboard));
    let plain = system.locale == "C.UTF-8" && actions.len() == 3 && !inputs.has_kernel();
    if plain { None } else { of(StageKind::Locale, actions) }
}

/// Whether glibc has the locale without generating it.
fn built_in(locale: &str) -> bool {
    matches!(locale, "C" | "POSIX" | "C.UTF-8" | "C.utf8")
}

fn generate(inputs: &Inputs<'_>) -> Vec<Action> {
    let system = &inputs.spec.system;
    let mut wanted: Vec<_> =
        std::iter::once(&system.locale).chain(&system.locales).filter(|name| !built_in(name)).collect();
    wanted.sort();
    wanted.dedup();
    if wanted.is_empty() || !inputs.has("locales") {
        return vec![];
    }
    let lines: String = wanted.iter().map(|name| format!("{name} {}\n", charset(name))).collect();
    let argv = ["/usr/sbin/locale-gen", "--keep-existing"].map(str::to_owned).into();
    let env = script_environment(inputs.epoch());
    vec![
        write("/etc/locale.gen", lines),
        Action::Run { name: "locale-gen".into(), r#in: RunIn::Target, argv, env, stdin: None },
    ]
}

/// Returns the charset column of `locale.gen`: what follows the dot, in the spelling of glibc's SUPPORTED list.
fn charset(locale: &str) -> String {
    match locale.split_once('.').map(|(_, charset)| charset.split('@').next().unwrap_or(charset)) {
        Some(charset) if charset.eq_ignore_ascii_case("utf8") => "UTF-8".into(),
        Some(charset) => charset.to_owned(),
        None => "ISO-8859-1".into(),
    }
}

fn keyboard(keyboard: &Keyboard) -> [Action; 2] {
    let Keyboard { layout, variant, model } = keyboard;
    let text = format!(
        "XKBMODEL=\"{model}\"\nXKBLAYOUT=\"{layout}\"\nXKBVARIANT=\"{variant}\"\nXKBOPTIONS=\"\"\nBACKSPACE=\"guess\"\n"
    );
    let console = format!("KEYMAP={layout}\nXKBLAYOUT={layout}\nXKBMODEL={model}\nXKBVARIANT={variant}\n");
    [write("/etc/default/keyboard", text), write("/etc/vconsole.conf", console)]
}
