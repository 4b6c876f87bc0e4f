//! Why the machine said no, and the one command that changes its mind.

use std::fs;
use std::io;

use crate::{Error, container};

/// The switches that forbid user namespaces, each with the value that does and the command that lifts it.
const SWITCHES: [(&str, &str, &str); 3] = [
    ("kernel/unprivileged_userns_clone", "0", "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
    ("user/max_user_namespaces", "0", "sudo sysctl -w user.max_user_namespaces=15000"),
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
];

fn switched_off() -> Option<&'static (&'static str, &'static str, &'static str)> {
    // Root of a container is not who AppArmor's switch is about.
    let all = if container::is_here() { &SWITCHES[..2] } else { &SWITCHES[..] };
    all.iter().find(|(file, value, _)| {
        fs::read_to_string(format!("/proc/sys/{file}")).is_ok_and(|text| text.trim() == *value)
    })
}

fn forbidden(what: &str, source: io::Error) -> Error {
    let Some((file, value, mend)) = switched_off() else {
        let elsewhere = || "run kiln on the machine itself, or in a container that may make user namespaces".to_owned();
        let mend = container::mend(&source).or_else(|| (source.raw_os_error() == Some(libc::EPERM)).then(elsewhere));
        return Error::Refused { what: what.into(), mend, source: Some(source) };
    };
    let what = format!("{what}: `/proc/sys/{file}` is {value}");
    Error::Refused { what, mend: Some((*mend).into()), source: Some(source) }
}

pub(super) fn user_namespace(error: io::Error) -> Error {
    forbidden("make a user namespace", error)
}

pub(super) fn mount_namespace(error: impl Into<io::Error>) -> Error {
    forbidden("make a mount namespace", error.into())
}

pub(super) fn map(name: &str, error: io::Error) -> Error {
    forbidden(&format!("write `{name}` of the user namespace"), error)
}

pub(super) fn tool(tool: &str, error: io::Error) -> Error {
    let what = format!("run `{tool}`, which maps subordinate ids");
    Error::Refused { what, mend: Some("sudo apt-get install uidmap".into()), source: Some(error) }
}

pub(super) fn told(tool: &str, said: &str) -> Error {
    let what = format!("map subordinate ids: {}", said.trim());
    let mend = format!(
        "make sure `{tool}` is set-uid root or has its file capabilities: sudo apt-get install --reinstall uidmap"
    );
    Error::Refused { what, mend: Some(mend), source: None }
}

/// Writes an error as text for the other side of the handshake.
pub(super) fn write(error: &Error) -> String {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    let number = source.and_then(io::Error::raw_os_error).unwrap_or(0);
    format!("{error}\0{}\0{number}", error.mend().unwrap_or_default())
}

/// Reads what [`write`] wrote.
pub(super) fn read(text: &str) -> Error {
    let mut parts = text.split('\0');
    let mut next = || parts.next().unwrap_or_default();
    let (what, mend, number) = (next().to_owned(), next(), next());
    let source = number.parse().ok().filter(|&number| number != 0).map(io::Error::from_raw_os_error);
    Error::Refused { what, mend: (!mend.is_empty()).then(|| mend.to_owned()), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_survives_the_way_out() {
        let error = Error::Refused {
            what: "make a user namespace".into(),
            mend: Some("sudo x".into()),
            source: Some(io::Error::from_raw_os_error(libc::EPERM)),
        };
        let back = read(&write(&error));
        assert_eq!(write(&back), write(&error));
        assert_eq!(back.to_string(), "make a user namespace");
        assert_eq!(back.mend(), Some("sudo x"));
    }
}
