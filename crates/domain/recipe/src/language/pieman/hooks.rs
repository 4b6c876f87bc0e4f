//! Hooks of a pair as scripts of a recipe: at the nearest point, in the sandbox, with the variables that they know.

use super::declare::Parameters;
use super::pair::HookFile;
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
    hooks: &[HookFile],
    span: Span,
) -> Result<(), Refused> {
    for (name, after) in HOOKS.iter().filter(|(name, _)| runs(parameters, family, name)) {
        let mut files: Vec<&HookFile> = hooks.iter().filter(|hook| hook.hook == *name).collect();
        files.sort_by_key(|hook| &hook.file);
        for hook in files {
            let after = after.ok_or_else(|| too_early(parameters, hook, span))?;
            let mut script = Tree::default();
            script.set("after", after, span);
            script.set("name", format!("{name}/{}", hook.file), span);
            script.set("text", program(parameters, &hook.text), span);
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
fn program(parameters: &Parameters, text: &str) -> String {
    let os = parameters.text("OS").split('-').map(quoted).collect::<Vec<_>>().join(" ");
    let mut known: Vec<(&str, String)> = vec![
        ("R", "/".into()),
        ("ETC", "/etc".into()),
        ("USR_BIN", "/usr/bin".into()),
        ("BOOT", "/boot/firmware".into()),
        ("UBOOT_VER", "2019.01".into()),
        ("BUILD_TYPE", build_type(parameters).into()),
    ];
    known.extend(parameters.others.iter().map(|(name, value)| (name.as_str(), quoted(value))));
    known.extend(parameters.visible().map(|(name, value)| (name, quoted(value))));
    let lines =
        known.iter().filter(|(name, _)| names(text, name)).map(|(name, value)| format!("export {name}={value}\n"));
    let pieces = if names(text, "PIECES") { format!("PIECES=({os})\n") } else { String::new() };
    format!("#!/bin/bash\nset -e\n{}{pieces}{}", lines.collect::<String>(), text.trim_start_matches("#!/bin/bash\n"))
}

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
