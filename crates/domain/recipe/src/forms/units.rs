//! Units, locales, keyboards.

use super::expect;
use crate::catalogue::names;
use crate::shape::{Form, Wrong, did_you_mean, nearest};

static KINDS: &[&str] =
    &["service", "socket", "target", "timer", "mount", "automount", "path", "swap", "slice", "scope", "device"];

pub static UNIT: Form = Form {
    what: "the name of a unit such as \"ssh.service\"",
    pattern: Some(r"^[A-Za-z0-9:_.@\\-]+$"),
    check: unit,
    hint: None,
};

fn unit(text: &str) -> Result<(), Wrong> {
    let fine = text.bytes().all(|b| b.is_ascii_alphanumeric() || b":_.@\\-".contains(&b));
    expect(fine && !text.is_empty() && text.len() < 256, || {
        Wrong::new(format!("`{text}` is not the name of a unit")).hint("as in \"ssh.service\"")
    })?;
    // `org.example` may be a service without its ending; `ssh.servcie` is a slip.
    let ending = text.rsplit_once('.').map(|(_, ending)| ending).filter(|ending| !KINDS.contains(ending));
    match ending.and_then(|ending| nearest(ending, KINDS.iter().copied())) {
        Some(kind) => {
            Err(Wrong::new(format!("`{text}` is not the name of a unit")).hint(format!("did you mean `.{kind}`?")))
        }
        None => Ok(()),
    }
}

/// Returns the unit's full name: `ssh` is `ssh.service`.
pub fn full_unit(text: &str) -> String {
    let known = text.rsplit_once('.').is_some_and(|(_, ending)| KINDS.contains(&ending));
    if known { text.to_owned() } else { format!("{text}.service") }
}

pub static LOCALE: Form =
    Form { what: "a locale such as \"de_DE.UTF-8\"", pattern: Some(r"^[A-Za-z0-9_.@-]+$"), check: locale, hint: None };

fn locale(text: &str) -> Result<(), Wrong> {
    if matches!(text, "C" | "POSIX") || names::LOCALES.contains(&text) || names::LOCALES.contains(&&*short(text)) {
        return Ok(());
    }
    let full = format!("{}.UTF-8", text.split(['.', '@']).next().unwrap_or(text));
    let hint = if names::LOCALES.contains(&full.as_str()) {
        Some(format!("did you mean `{full}`?"))
    } else {
        did_you_mean(text, names::LOCALES.iter().copied())
    };
    Err(Wrong::new(format!("there is no locale `{text}`")).maybe_hint(hint))
}

/// glibc's list has `aa_ER` and `ca_ES@valencia` for locales that are UTF-8 alone; both spellings name them.
fn short(text: &str) -> String {
    text.replacen(".UTF-8", "", 1)
}

pub static KEYBOARD_LAYOUT: Form = Form {
    what: "a keyboard layout such as \"de\"",
    pattern: Some(r"^[a-z]+$"),
    check: |text| keyboard("layout", text, names::keyboard_layouts()),
    hint: None,
};

pub static KEYBOARD_MODEL: Form = Form {
    what: "a keyboard model such as \"pc105\"",
    pattern: None,
    check: |text| keyboard("model", text, names::keyboard_models()),
    hint: None,
};

fn keyboard(what: &str, text: &str, names: Vec<&'static str>) -> Result<(), Wrong> {
    expect(names.contains(&text), || {
        let hint = did_you_mean(text, names.iter().copied());
        Wrong::new(format!("there is no keyboard {what} `{text}`")).maybe_hint(hint)
    })
}
