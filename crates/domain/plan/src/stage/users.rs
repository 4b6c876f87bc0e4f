//! Users, then what may belong to them: files and services.

use kiln_model::action::{Content, Owner, Password, User};
use kiln_model::{Action, Stage, StageKind};
use kiln_recipe::spec::{FileContent, FileSpec, PasswordSpec, Point, Sudo, UserSpec};

use super::{of, scripts};
use crate::Inputs;
use crate::context::{local, symlink, write_mode};

pub fn users(inputs: &Inputs<'_>) -> Option<Stage> {
    let spec = inputs.spec;
    let mut actions = vec![];
    if !spec.users.is_empty() {
        actions.push(Action::Users { users: spec.users.iter().map(|user| account(inputs, user)).collect() });
    }
    actions.extend(spec.users.iter().filter_map(sudo));
    actions.extend(host_keys(inputs));
    actions.extend(spec.files.iter().map(|file| action(inputs, file)));
    let services = &spec.services;
    if services != &Default::default() {
        let (enable, disable, mask) = (services.enable.clone(), services.disable.clone(), services.mask.clone());
        actions.push(Action::Services { enable, disable, mask });
    }
    actions.extend(scripts::at(inputs, Point::Users));
    of(StageKind::Users, actions)
}

fn account(inputs: &Inputs<'_>, user: &UserSpec) -> User {
    let password = match &user.password {
        PasswordSpec::Locked => Password::Locked,
        PasswordSpec::Hash(hash) => Password::Hash(hash.clone()),
        PasswordSpec::Secret(name) => {
            let Content::Secret { name, fingerprint } = inputs.secret(name) else { unreachable!("it returns one") };
            let salt = inputs.uuid(&format!("salt {}", user.name)).simple().to_string()[..12].to_owned();
            Password::Secret { name, fingerprint, salt }
        }
    };
    User {
        name: user.name.clone(),
        uid: user.uid,
        gecos: user.gecos.clone(),
        home: user.home.clone(),
        shell: user.shell.clone(),
        groups: user.groups.clone(),
        system: user.system,
        password,
        ssh_keys: user.ssh_keys.clone(),
        changed: inputs.epoch() / 86_400,
    }
}

/// sudoers(5) ignores files with a dot in their name, so dots become underscores.
fn sudo(user: &UserSpec) -> Option<Action> {
    let rule = match user.sudo {
        Sudo::No => return None,
        Sudo::Password => "ALL=(ALL:ALL) ALL",
        Sudo::NoPassword => "ALL=(ALL:ALL) NOPASSWD: ALL",
    };
    let file = format!("/etc/sudoers.d/50-{}", user.name.replace('.', "_"));
    Some(write_mode(&file, format!("{} {rule}\n", user.name), 0o440))
}

/// Host keys are never shipped: a unit makes them before the first sshd starts.
fn host_keys(inputs: &Inputs<'_>) -> Vec<Action> {
    // OpenRC's service makes them itself.
    if !inputs.has("openssh-server") || inputs.is_apk() {
        return vec![];
    }
    let unit = "[Unit]\nDescription=Make this machine's SSH host keys\nConditionPathExists=!/etc/ssh/ssh_host_ed25519_key\n\
                Before=ssh.service ssh.socket sshd.service\n\n[Service]\nType=oneshot\nExecStart=/usr/bin/ssh-keygen -A\n\
                RemainAfterExit=yes\n\n[Install]\nWantedBy=multi-user.target\n";
    let name = "kiln-ssh-host-keys.service";
    vec![
        crate::context::write(&format!("/etc/systemd/system/{name}"), unit),
        symlink(&format!("/etc/systemd/system/multi-user.target.wants/{name}"), format!("/etc/systemd/system/{name}")),
    ]
}

fn action(inputs: &Inputs<'_>, file: &FileSpec) -> Action {
    let owner = Owner { user: file.user.clone(), group: file.group.clone() };
    let (path, mode) = (file.path.clone(), file.mode);
    let write = |content, owner| Action::Write { path: path.clone(), content, mode: mode.unwrap_or(0o644), owner };
    match &file.content {
        FileContent::Text(text) => write(Content::Text(text.clone()), owner),
        FileContent::Secret(name) => write(inputs.secret(name), owner),
        FileContent::Local(from) => Action::Copy { path, from: local(from), mode, owner },
        FileContent::Download { url, .. } => {
            let from = inputs.lock.download(url).expect("a lock that fits the spec has its downloads").clone();
            Action::Download { path, from, mode: mode.unwrap_or(0o644), owner }
        }
        FileContent::Symlink(target) => Action::Symlink { path, target: target.clone() },
        FileContent::Directory => Action::Mkdir { path, mode: mode.unwrap_or(0o755), owner },
    }
}
