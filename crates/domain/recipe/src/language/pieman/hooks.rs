//! Hooks of a pair as scripts of a recipe: at the nearest point, in the sandbox, with the variables that they know.

use kiln_model::action::FILES;

use super::declare::Parameters;
use super::pair::{HookFile, PairFiles};
use super::tree::Tree;
use crate::node::Span;
use crate::spec::Family;

/// Hooks in the order in which they run, and the step that each follows.
static HOOKS: &[(&str, &str)] = &[
    ("pre-create-chroot", START),
    ("pre-first-stage", START),
    ("post-first-stage", "unpack"),
    ("pre-second-stage", "unpack"),
    ("post-second-stage", "bootstrap"),
    ("post-create-chroot", "bootstrap"),
    ("pre-update-indexes", "bootstrap"),
    ("post-update-indexes", "bootstrap"),
    ("pre-install", "bootstrap"),
    ("post-install", "packages"),
    ("pre-upgrade", "packages"),
    ("post-upgrade", "packages"),
    ("pre-kernel-installation", "packages"),
    ("post-kernel-installation", "kernel"),
];

/// Here hooks run outside of the image, which is empty.
const START: &str = "start";

/// Adds every hook to the recipe, in the order in which Pieman runs them.
pub fn write(tree: &mut Tree, parameters: &Parameters, family: Family, files: &PairFiles, span: Span) {
    let hooks = &files.hooks;
    for (name, after) in HOOKS.iter().filter(|(name, _)| runs(parameters, family, name)) {
        let mut programs: Vec<&HookFile> = hooks.iter().filter(|hook| hook.hook == *name).collect();
        programs.sort_by_key(|hook| &hook.file);
        for hook in programs {
            let mut script = Tree::default();
            script.set("after", *after, span);
            script.set("name", format!("{name}/{}", hook.file), span);
            script.set("text", program(parameters, family, after, &hook.text), span);
            if OF_FOLDER.iter().any(|(name, _)| names(&hook.text, name)) {
                // Its path is from the working directory, and so its place must be a text that lies there.
                script.set("files", files.folder(), parameters.span("OS"));
            }
            tree.add("script", script, span);
        }
    }
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

/// Returns the hook with what it refers to; what it does not name would only make another build of the same.
fn program(parameters: &Parameters, family: Family, after: &str, text: &str) -> String {
    let os = parameters.text("OS").split('-').map(quoted).collect::<Vec<_>>().join(" ");
    let distribution = parameters.text("OS").split('-').next().unwrap_or_default();
    let root = if after == START { "/target" } else { "" };
    let mut known: Vec<(&str, String)> = vec![
        ("R", if root.is_empty() { "/".into() } else { root.into() }),
        ("ETC", format!("{root}/etc")),
        ("USR_BIN", format!("{root}/usr/bin")),
        ("BOOT", format!("{root}/boot/firmware")),
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
        || after == START
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
        "unpack" | "bootstrap" => "is not there yet: move this hook to post-install",
        _ => "cannot be installed by a hook: name it in includes of pieman.yml",
    };
    let inside = |body: &str| if after == START { NOTHING_YET.to_owned() } else { body.to_owned() };
    let all = [
        (
            "install_packages",
            inside(&format!("for package; do {installed} || {{ fatal \"$package {lacking}\"; return 1; }}; done")),
        ),
        ("purge_packages", inside(purge)),
        ("chroot_exec", inside("LANG=C LC_ALL=C \"$@\" >&2")),
        ("chroot_exec_sh", inside("LANG=C LC_ALL=C sh -c \"$@\" >&2")),
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
    let named = |name: &str| names(text, name);
    let fatal = all.iter().any(|(name, body)| named(name) && names(body, "fatal"));
    let taken = all.iter().filter(|(name, _)| named(name) || (fatal && *name == "fatal"));
    taken.map(|(name, body)| format!("{name}() {{ {body}; }}\n")).collect()
}

/// What functions do that need an image, where there is none.
const NOTHING_YET: &str = "fatal 'there is no image yet: move this hook to post-second-stage'; return 1";

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
