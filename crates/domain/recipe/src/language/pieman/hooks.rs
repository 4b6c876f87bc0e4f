//! Hooks of a pair as scripts of a recipe: at the nearest point, in the sandbox, with the variables that they know.

use kiln_model::action::FILES;

use super::declare::Parameters;
use super::pair::{HookFile, PairFiles};
use super::sheets::Refused;
use super::tree::Tree;
use crate::desk::Note;
use crate::node::Span;
use crate::spec::Family;

/// Hooks in the order in which they run, and the step that each follows; none where kiln has no step to follow.
static HOOKS: &[(&str, Option<&str>)] = &[
    ("pre-create-chroot", None),
    ("pre-first-stage", None),
    ("post-first-stage", None),
    ("pre-second-stage", None),
    ("post-second-stage", Some("bootstrap")),
    ("post-create-chroot", Some("bootstrap")),
    ("pre-update-indexes", Some("bootstrap")),
    ("post-update-indexes", Some("bootstrap")),
    ("pre-install", Some("bootstrap")),
    ("post-install", Some("packages")),
    ("pre-upgrade", Some("packages")),
    ("post-upgrade", Some("packages")),
    ("pre-kernel-installation", Some("packages")),
    ("post-kernel-installation", Some("kernel")),
];

/// Adds every hook to the recipe, in the order in which Pieman runs them.
pub fn write(
    tree: &mut Tree,
    parameters: &Parameters,
    family: Family,
    files: &PairFiles,
    span: Span,
) -> Result<(), Refused> {
    let hooks = &files.hooks;
    for (name, after) in HOOKS.iter().filter(|(name, _)| runs(parameters, family, name)) {
        let mut programs: Vec<&HookFile> = hooks.iter().filter(|hook| hook.hook == *name).collect();
        programs.sort_by_key(|hook| &hook.file);
        for hook in programs {
            let after = after.ok_or_else(|| too_early(parameters, hook, span))?;
            let mut script = Tree::default();
            script.set("after", after, span);
            script.set("name", format!("{name}/{}", hook.file), span);
            script.set("text", program(parameters, family, after, &hook.text), span);
            if OF_FOLDER.iter().any(|(name, _)| names(&hook.text, name)) {
                // Its path is from the working directory, and so its place must be a text that lies there.
                script.set("files", files.folder(), parameters.span("OS"));
            }
            tree.add("script", script, span);
        }
    }
    Ok(())
}

/// Whether Pieman comes to a hook at all: a given tree is not created again, and Alpine is created at once.
fn runs(parameters: &Parameters, family: Family, hook: &str) -> bool {
    let given = !matches!(parameters.text("BASE_DIR"), "" | "false");
    match hook {
        "pre-create-chroot" | "post-create-chroot" => !given,
        stage if stage.ends_with("-stage") => !given && family == Family::Deb,
        kernel if kernel.contains("kernel") => !parameters.is_on("CREATE_ONLY_CHROOT"),
        _ => true,
    }
}

fn too_early(parameters: &Parameters, hook: &HookFile, span: Span) -> Refused {
    let file = format!("{}/{}", hook.hook, hook.file);
    let note = Note::error(span, "not-in-kiln", "hooks run inside the image, and at this point there is none")
        .hint("move what it does to `post-create-chroot`, or into `base` of the definition");
    parameters.sheets.refuse(format!("cannot run the hook {file}"), note)
}

/// Returns the hook with what it refers to; what it does not name would only make another build of the same.
fn program(parameters: &Parameters, family: Family, after: &str, text: &str) -> String {
    let os = parameters.text("OS").split('-').map(quoted).collect::<Vec<_>>().join(" ");
    let distribution = parameters.text("OS").split('-').next().unwrap_or_default();
    let mut known: Vec<(&str, String)> = vec![
        ("R", "/".into()),
        ("ETC", "/etc".into()),
        ("USR_BIN", "/usr/bin".into()),
        ("BOOT", "/boot/firmware".into()),
        ("UBOOT_VER", "2019.01".into()),
        ("BUILD_TYPE", build_type(parameters).into()),
    ];
    known.extend(OF_FOLDER.map(|(name, file)| (name, format!("{FILES}{file}"))));
    known.extend(parameters.others.iter().map(|(name, value)| (name.as_str(), quoted(value))));
    known.extend(parameters.visible().map(|(name, value)| (name, quoted(value))));
    let lines =
        known.iter().filter(|(name, _)| names(text, name)).map(|(name, value)| format!("export {name}={value}\n"));
    // Alpine has no bash unless somebody asks for it, and its shell no lists.
    let bash = family == Family::Deb
        || text.lines().next().is_some_and(|first| first.starts_with("#!") && first.contains("bash"));
    let (shell, pieces) =
        if bash { ("/bin/bash", format!("PIECES=({os})\n")) } else { ("/bin/sh", format!("PIECES={distribution}\n")) };
    let pieces = if names(text, "PIECES") { pieces } else { String::new() };
    let functions = functions(family, distribution, after, text);
    let lines: String = lines.collect();
    let text = text.trim_start_matches("#!/bin/bash\n");
    format!("#!{shell}\nset -e\n{lines}{pieces}{functions}{text}")
}

/// Returns the shell functions that a hook names, and those that these name: what Pieman's of these names do, inside the image. Packages come
/// from the recipe, which pins them; what is there can be taken away.
fn functions(family: Family, distribution: &str, after: &str, text: &str) -> String {
    let is = |yes: bool| if yes { "true" } else { "false" };
    let (deb, apk) = (family == Family::Deb, family == Family::Apk);
    let purge = if apk {
        "apk del --no-network \"$@\" >&2"
    } else {
        "DEBIAN_FRONTEND=noninteractive apt-get -y purge \"$@\" >&2"
    };
    let installed = if apk { "apk info -e \"$package\" >/dev/null" } else { "dpkg -s \"$package\" >/dev/null 2>&1" };
    let lacking = match after {
        "bootstrap" => "is not there yet: move this hook to post-install",
        _ => "cannot be installed by a hook: name it in includes of pieman.yml",
    };
    let all = [
        (
            "install_packages",
            format!("for package; do {installed} || {{ fatal \"$package {lacking}\"; return 1; }}; done"),
        ),
        ("purge_packages", purge.to_owned()),
        ("chroot_exec", "LANG=C LC_ALL=C \"$@\" >&2".into()),
        ("chroot_exec_sh", "LANG=C LC_ALL=C sh -c \"$@\" >&2".into()),
        (
            "check_if_variable_is_set",
            "local name; for name; do eval \"[ -n \\\"\\${$name+x}\\\" ]\" || return 1; done".into(),
        ),
        ("info", "printf 'Info: %s\\n' \"$*\" >&2".into()),
        ("warning", "printf 'Warning: %s\\n' \"$*\" >&2".into()),
        ("fatal", "printf 'Fatal: %s\\n' \"$*\" >&2".into()),
        ("success", "printf 'Success: %s\\n' \"$*\" >&2".into()),
        ("is_alpine", is(apk).into()),
        ("is_debian_based", is(deb).into()),
        ("is_debian", is(distribution == "debian").into()),
        ("is_devuan", is(distribution == "devuan").into()),
        ("is_kali", is(distribution == "kali").into()),
        ("is_raspberrypios", is(matches!(distribution, "raspberrypios" | "raspbian")).into()),
        ("is_raspbian", is(matches!(distribution, "raspberrypios" | "raspbian")).into()),
        ("is_ubuntu", is(distribution == "ubuntu").into()),
    ];
    let named = |name: &str| names(text, name) || (name == "fatal" && names(text, "install_packages"));
    all.iter().filter(|(name, _)| named(name)).map(|(name, body)| format!("{name}() {{ {body}; }}\n")).collect()
}

/// What a hook knows of the folder of its pair.
const OF_FOLDER: [(&str, &str); 2] = [("SOURCE_DIR", ""), ("YML_FILE", "/pieman.yml")];

/// Pieman's numbers: an image, one with Mender's client, an artifact.
fn build_type(parameters: &Parameters) -> &'static str {
    match (parameters.is_on("ENABLE_MENDER"), parameters.is_on("CREATE_ONLY_MENDER_ARTIFACT")) {
        (true, _) => "2",
        (_, true) => "3",
        _ => "1",
    }
}

/// Whether a program names a variable.
fn names(text: &str, variable: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(variable)
        .any(|(at, _)| !text[..at].ends_with(part) && !text[at + variable.len()..].starts_with(part))
}

/// Returns a word that a shell takes as it is.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,@".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_whole_words() {
        assert!(names("cp x $R/etc", "R") && names("${R}", "R") && !names("$ROOT", "R") && !names("FOR R_2", "R"));
        assert_eq!(quoted("it's $5"), "'it'\\''s $5'");
        assert_eq!(quoted("en_US.UTF-8"), "en_US.UTF-8");
    }
}
