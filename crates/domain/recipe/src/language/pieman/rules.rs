//! What Pieman checks before it builds, in its order: exclusions, dependencies, passphrase, wireless, ownership.

use super::declare::Parameters;
use super::sheets::Refused;
use crate::catalogue::board;
use crate::desk::Note;

/// Of each group at most one may be said.
pub static EXCLUSIONS: &[&[&str]] = &[
    &["BASE_DIR", "CREATE_ONLY_CHROOT"],
    &["ENABLE_GOOGLE_DNS", "ENABLE_BASIC_YANDEX_DNS", "ENABLE_FAMILY_YANDEX_DNS", "ENABLE_CUSTOM_DNS"],
    &["COMPRESS_WITH_BZIP2", "COMPRESS_WITH_GZIP", "COMPRESS_WITH_XZ"],
    &["CREATE_ONLY_MENDER_ARTIFACT", "CREATE_ONLY_CHROOT", "ENABLE_MENDER"],
];

/// The first says nothing without the second.
static DEPENDENCIES: &[(&str, &str)] =
    &[("WPA_SSID", "ENABLE_WIRELESS"), ("WPA_PSK", "ENABLE_WIRELESS"), ("WPA_PSK", "WPA_SSID")];

/// Checks what can be checked without a pair; the first mistake counts.
pub fn check(parameters: &Parameters) -> Result<(), Refused> {
    exclusions(parameters)?;
    dependencies(parameters)?;
    passphrase(parameters)?;
    wireless(parameters)?;
    ownership(parameters)
}

/// Whether a value says anything; for this purpose Pieman takes every text but `false` for a yes.
fn says(text: &str) -> bool {
    !matches!(text, "" | "false")
}

fn exclusions(parameters: &Parameters) -> Result<(), Refused> {
    for group in EXCLUSIONS {
        let mut said = group.iter().filter(|name| says(parameters.text(name)));
        if let (Some(first), Some(second)) = (said.next(), said.next()) {
            let note = Note::error(
                parameters.span(second),
                "contradiction",
                format!("`{first}` and `{second}` cannot both be"),
            )
            .also(parameters.span(first), "said here")
            .hint("leave one of them out; empty and `false` count as left out");
            return Err(parameters.sheets.refuse(format!("{first} and {second} conflict with each other."), note));
        }
    }
    Ok(())
}

fn dependencies(parameters: &Parameters) -> Result<(), Refused> {
    let broken = |(name, on): &&(&str, &str)| says(parameters.text(name)) && !says(parameters.text(on));
    let Some((name, on)) = DEPENDENCIES.iter().find(broken) else { return Ok(()) };
    let fatal = format!(
        "{name} depends on {on}, so the latter must be set to true (if bool) or simply specified (in other cases)."
    );
    let way = if *on == "ENABLE_WIRELESS" { "set `ENABLE_WIRELESS=true`" } else { "name the network: `WPA_SSID=…`" };
    let note = Note::error(parameters.span(name), "contradiction", format!("`{name}` means nothing without `{on}`"));
    Err(parameters.sheets.refuse(fatal, note.hint(format!("{way}, or leave `{name}` out"))))
}

/// Pieman counts letters and wpa_supplicant bytes; a passphrase must please both.
fn passphrase(parameters: &Parameters) -> Result<(), Refused> {
    let text = parameters.text("WPA_PSK");
    let (letters, bytes) = (text.chars().count(), text.len());
    let (why, message) = if text.is_empty() {
        return Ok(());
    } else if !(8..=63).contains(&letters) {
        ("passphrase must be 8..63 characters", format!("this passphrase has {letters} characters"))
    } else if text.chars().any(|c| c < ' ' || c == '\x7f') {
        ("invalid passphrase character", "this passphrase holds a control character".to_owned())
    } else if bytes > 63 {
        ("passphrase must be 8..63 characters", format!("this passphrase has {bytes} bytes, and 63 are the most"))
    } else {
        return Ok(());
    };
    let note = Note::error(parameters.span("WPA_PSK"), "parameter", message)
        .hint("the access point has the passphrase; a network without one needs no `WPA_PSK`");
    Err(parameters.sheets.refuse(format!("WPA_PSK is not valid: {why}"), note))
}

/// The package of the firmware of Raspberry Pis' wireless chips.
const FIRMWARE: &str = "firmware-brcm80211";

/// A board of the catalogue must have wireless; what a user's own board has, its user knows.
fn wireless(parameters: &Parameters) -> Result<(), Refused> {
    let board = board::find(parameters.text("DEVICE"));
    let Some(board) = board.filter(|_| parameters.is_on("ENABLE_WIRELESS")) else { return Ok(()) };
    let has = |board: &board::Board| board.firmware.iter().any(|package| package == FIRMWARE);
    if has(board) {
        return Ok(());
    }
    let names: Vec<&str> = board::all().iter().filter(|board| has(board)).map(|board| board.name.as_str()).collect();
    let message = format!("the {} has no wireless that kiln knows", board.title);
    let note = Note::error(parameters.span("ENABLE_WIRELESS"), "contradiction", message)
        .also(parameters.span("DEVICE"), "this device")
        .hint(format!("those that have: {}", names.join(", ")));
    let fatal =
        "ENABLE_WIRELESS is available only for Raspberry Pi OS Buster on Raspberry Pi 3 Model B or Raspberry Zero W.";
    Err(parameters.sheets.refuse(fatal, note))
}

fn ownership(parameters: &Parameters) -> Result<(), Refused> {
    if owner(parameters).is_some() {
        return Ok(());
    }
    let text = parameters.text("IMAGE_OWNERSHIP");
    let note = Note::error(parameters.span("IMAGE_OWNERSHIP"), "parameter", format!("`{text}` names no owner"))
        .hint("two numbers, as `id -u` and `id -g` tell them: `IMAGE_OWNERSHIP=1000:1000`");
    Err(parameters.sheets.refuse("IMAGE_OWNERSHIP must follow the format: \"uid:gid\".", note))
}

/// Returns the user and group that the artifacts shall belong to.
pub fn owner(parameters: &Parameters) -> Option<(u32, u32)> {
    let number = |text: &str| text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    let (uid, gid) = parameters.text("IMAGE_OWNERSHIP").split_once(':')?;
    Some((number(uid)?, number(gid)?))
}
