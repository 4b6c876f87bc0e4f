//! `[[user]]`: who may log in, and how.

use crate::desk::{Desk, Note};
use crate::forms::{FIELD, GROUP, GUEST_PATH, LOCAL_PATH, PASSWORD_HASH, SSH_KEY, USER, ssh_key};
use crate::needs::Needs;
use crate::node::Span;
use crate::section::base::Ground;
use crate::section::secrets::Secrets;
use crate::shape::{Shape, Table, key};
use crate::spec::{PasswordSpec, Sudo, UserSpec};
use crate::view::{Said, View};

pub static KEYS: Table = Table {
    name: "[[user]]",
    doc: "A user. There are no default passwords: without `password` or `password-hash` no password opens the account.",
    keys: &[
        key("name", Shape::Text(&USER), "The login name; `root` changes root's account.").here().example("\"admin\""),
        key("uid", Shape::Integer { from: 0, to: 4_294_967_293 }, "The user's number.")
            .default("the next free one")
            .example("1000"),
        key("gecos", Shape::Text(&FIELD), "The full name."),
        key("home", Shape::Text(&GUEST_PATH), "The home directory.")
            .default("`/home/NAME`; for system users `/nonexistent`"),
        key("shell", Shape::Text(&GUEST_PATH), "The login shell.")
            .default("`/bin/bash`; for system users `/usr/sbin/nologin`; on Alpine `/bin/ash` and `/sbin/nologin`"),
        key("groups", Shape::List(&Shape::Text(&GROUP)), "Further groups; made when missing.").example("[\"video\"]"),
        key("system", Shape::Bool, "Whether it is an account for a service.").default("false"),
        key(
            "password-hash",
            Shape::Text(&PASSWORD_HASH),
            "The password's hash, from `openssl passwd -6` or `mkpasswd`.",
        ),
        key("password", Shape::Secret, "The password, or its hash as `password-hash` takes it, by reference.")
            .example("{ secret = \"admin\" }"),
        key(
            "ssh-keys",
            Shape::Either(&[Shape::List(&Shape::Text(&SSH_KEY)), Shape::Table(&KEY_FILE)]),
            "Public keys that may log in: lines, or a file of them.",
        )
        .example("[\"ssh-ed25519 AAAA… admin@desk\"]"),
        key("sudo", Shape::Word(SUDO), "Whether the user may become root with sudo.").default("\"no\""),
    ],
    more: None,
};

static KEY_FILE: Table = Table {
    name: "ssh-keys",
    doc: "",
    keys: &[key("file", Shape::Text(&LOCAL_PATH), "A file like authorized_keys(5), from this file's folder.")
        .here()
        .example("\"admin.pub\"")],
    more: None,
};

static SUDO: &[(&str, &str)] =
    &[("no", "not at all"), ("password", "after giving the own password"), ("no-password", "without being asked")];

pub fn read(root: View<'_>, ground: &Ground, secrets: &Secrets<'_>, needs: &Needs, desk: &Desk<'_>) -> Vec<UserSpec> {
    let mut users: Vec<UserSpec> = Vec::new();
    let mut names: Vec<Said<&str>> = Vec::new();
    for view in root.tables("user") {
        let Some(name) = view.text("name") else {
            // Its other keys are checked for the mistakes they make by themselves.
            one(view, Said { value: "", span: view.span }, ground, secrets, needs, desk);
            continue;
        };
        if let Some(first) = names.iter().find(|other| other.value == name.value) {
            let message = format!("there are two users `{}`", name.value);
            desk.say(Note::error(name.span, "duplicate", message).also(first.span, "first here"));
        }
        names.push(name);
        let user = one(view, name, ground, secrets, needs, desk);
        if let Some(other) = users.iter().find(|other| user.uid.is_some() && other.uid == user.uid) {
            let span = view.integer("uid").map_or(name.span, |uid| uid.span);
            let message = format!("`{}` and `{}` have the same uid", other.name, user.name);
            desk.say(Note::error(span, "duplicate", message));
        }
        users.push(user);
    }
    needs_sshd(root, desk);
    users
}

fn one(
    view: View<'_>,
    name: Said<&str>,
    ground: &Ground,
    secrets: &Secrets<'_>,
    needs: &Needs,
    desk: &Desk<'_>,
) -> UserSpec {
    let system = view.bool("system").unwrap_or(false);
    let home = match (name.value, system) {
        ("root", _) => "/root".to_owned(),
        (_, true) => "/nonexistent".to_owned(),
        (name, false) => format!("/home/{name}"),
    };
    let shell = if system { &ground.release.nologin } else { &ground.release.shell };
    let user = UserSpec {
        name: name.value.to_owned(),
        uid: view.integer("uid").and_then(|said| u32::try_from(said.value).ok()),
        gecos: view.string("gecos").unwrap_or_default(),
        home: view.string("home").unwrap_or(home),
        shell: view.string("shell").unwrap_or_else(|| shell.clone()),
        groups: view.strings("groups"),
        system,
        password: password(view, secrets, desk),
        ssh_keys: ssh_keys(view, desk),
        sudo: sudo(view),
    };
    check_sudo(view, &user, needs, desk);
    let shut = !view.has("password") && !view.has("password-hash") && !view.has("ssh-keys");
    if shut && !system && name.value != "root" && !user.shell.ends_with("/nologin") && !user.shell.ends_with("/false") {
        let message = format!("nobody can log in as `{}`: it has neither password nor SSH key", name.value);
        desk.say(
            Note::warning(name.span, "nobody-can-log-in", message)
                .hint("add `ssh-keys`, `password-hash` or `password`"),
        );
    }
    user
}

fn password(view: View<'_>, secrets: &Secrets<'_>, desk: &Desk<'_>) -> PasswordSpec {
    if let (Some(hash), Some(password)) = (view.key_span("password-hash"), view.key_span("password")) {
        let note = Note::error(password, "contradiction", "`password` and `password-hash` cannot both be");
        desk.say(note.also(hash, "said here"));
    }
    if let Some(secret) = view.secret("password") {
        return PasswordSpec::Secret(secrets.used(secret, desk));
    }
    view.string("password-hash").map_or(PasswordSpec::Locked, PasswordSpec::Hash)
}

fn sudo(view: View<'_>) -> Sudo {
    match view.text("sudo").map(|said| said.value) {
        Some("password") => Sudo::Password,
        Some("no-password") => Sudo::NoPassword,
        _ => Sudo::No,
    }
}

/// sudo must be there, and whoever is asked for a password must have one.
fn check_sudo(view: View<'_>, user: &UserSpec, needs: &Needs, desk: &Desk<'_>) {
    let Some(said) = view.text("sudo").filter(|_| user.sudo != Sudo::No) else { return };
    needs.feature("sudo", format!("user `{}` with sudo", user.name), said.span);
    let no_password = !view.has("password") && !view.has("password-hash");
    if user.sudo == Sudo::Password && no_password {
        let message = format!("sudo would ask `{}` for a password that it does not have", user.name);
        let hint = "give it a `password`, or say sudo = \"no-password\"";
        desk.say(Note::error(said.span, "contradiction", message).hint(hint));
    }
}

fn ssh_keys(view: View<'_>, desk: &Desk<'_>) -> Vec<String> {
    let file = view.table("ssh-keys").and_then(|table| table.text("file"));
    match file {
        Some(file) => keys_of_file(file, desk),
        None => view.strings("ssh-keys").iter().map(|key| key.trim().to_owned()).collect(),
    }
}

fn keys_of_file(file: Said<&str>, desk: &Desk<'_>) -> Vec<String> {
    let text = match desk.sources.read(&desk.host_path(file.span, file.value)) {
        Ok(text) => text,
        Err(error) => {
            let message = format!("cannot read the SSH keys `{}`", file.value);
            desk.say(Note::error(file.span, "unreadable", message).label(error.to_string()));
            return Vec::new();
        }
    };
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    let keys = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    keys.filter_map(|(number, line)| checked(number, line, file, desk)).collect()
}

fn checked(number: usize, line: &str, file: Said<&str>, desk: &Desk<'_>) -> Option<String> {
    match ssh_key(line) {
        Ok(()) => Some(line.to_owned()),
        Err(wrong) => {
            let message = format!("line {number} of `{}` is not an SSH public key", file.value);
            let note = Note::error(file.span, "bad-value", message).maybe_hint(wrong.hint);
            desk.say(note.label(wrong.label.unwrap_or_default()));
            None
        }
    }
}

/// Keys open nothing when no SSH server is installed.
fn needs_sshd(root: View<'_>, desk: &Desk<'_>) {
    let servers = ["openssh-server", "task-ssh-server", "dropbear", "tinysshd", "ssh"];
    let asked = root.section("packages").texts("include");
    let served =
        |said: &Said<&str>| said.value.ends_with('^') || servers.iter().any(|name| said.value.starts_with(name));
    let keys: Option<Span> = root.tables("user").iter().find_map(|user| user.key_span("ssh-keys"));
    if let (Some(span), false) = (keys, asked.iter().any(served)) {
        let note = Note::warning(span, "without-effect", "SSH keys, but `[packages]` asks for no SSH server");
        desk.say(note.hint("add `openssh-server` to `packages.include`"));
    }
}
