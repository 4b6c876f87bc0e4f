//! Accounts: the four files are rewritten, homes made from `/etc/skel`, SSH keys put in.

use std::collections::BTreeMap;

use kiln_model::action::{Password, User};
use kiln_model::fault::OrFault as _;
use kiln_model::{Fault, FaultKind, GuestPath};
use kiln_plan::accounts::{self, Accounts, Home};
use kiln_plan::context::path;
use kiln_recipe::spec::Family;

use super::Run;
use crate::target::{Ids, Target};

const FILES: [&str; 4] = ["/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"];

impl Run<'_> {
    pub fn users(&self, users: &[User], target: &Target) -> Result<(), Fault> {
        let [passwd, group, shadow, gshadow] = read(target)?;
        let before = Accounts { passwd, group, shadow, gshadow };
        let hashes = users.iter().filter_map(|user| Some((user, self.hash(&user.password).transpose()?)));
        let mut hashes: BTreeMap<_, _> =
            hashes.map(|(user, hash)| Ok((user.name.clone(), hash?))).collect::<Result<_, Fault>>()?;
        if self.loaded.completed.spec.base.family == Family::Apk {
            open_to_keys(users, &before, &mut hashes);
        }
        let (after, homes) =
            accounts::apply(&before, users, &hashes).fault(FaultKind::Recipe, || "add users".into())?;
        write(target, &after)?;
        // By convention there is no such folder: it is the home of those who have none.
        let mut homes = homes.iter().filter(|home| home.path != "/nonexistent");
        homes.try_for_each(|home| make_home(target, home).farm(|| format!("make the home `{}`", home.path)))
    }

    fn hash(&self, password: &Password) -> Result<Option<String>, Fault> {
        match password {
            Password::Locked => Ok(None),
            Password::Hash(hash) => Ok(Some(hash.clone())),
            Password::Secret { name, salt, .. } => {
                let value = self.secrets.get(name)?;
                if kiln_recipe::is_password_hash(value) {
                    return Ok(Some(value.to_owned()));
                }
                // A password may begin as hashes do; whoever meant one is to know.
                if value.starts_with('$') && value.matches('$').count() > 2 {
                    let message = "is taken as the password itself: as a hash of crypt(5) it is too old, or not whole";
                    self.events.warn(format!("the secret `{name}` {message}"));
                }
                hashed(value, salt).map(Some)
            }
        }
    }
}

/// Gives new accounts without a password a field that no password fits. Without PAM, sshd takes `!` for a word against keys too.
fn open_to_keys(users: &[User], before: &Accounts, hashes: &mut BTreeMap<String, String>) {
    let known = |name: &str| before.shadow.lines().any(|line| line.split(':').next() == Some(name));
    for user in users.iter().filter(|user| !known(&user.name)) {
        hashes.entry(user.name.clone()).or_insert_with(|| "*".to_owned());
    }
}

/// sha512-crypt with 5000 rounds. The twelve bytes of `salt` become the sixteen letters that crypt(5) has room for: with
/// more of them, no password ever fits.
fn hashed(password: &str, salt: &str) -> Result<String, Fault> {
    use sha_crypt::{PasswordHasher as _, ShaCrypt};
    let hasher = ShaCrypt::default();
    let hash = hasher.hash_password_with_salt(password.as_bytes(), salt.as_bytes());
    hash.map(|hash| hash.to_string()).fault(FaultKind::Farm, || "hash a password".into())
}

fn read(target: &Target) -> Result<[String; 4], Fault> {
    let mut texts = [const { String::new() }; 4];
    for (text, file) in texts.iter_mut().zip(FILES) {
        *text = target.text(&path(file)).farm(|| format!("read `{file}` of the tree"))?;
    }
    Ok(texts)
}

fn write(target: &Target, accounts: &Accounts) -> Result<(), Fault> {
    let shadow_group = accounts::id_of(&accounts.group, "shadow").unwrap_or(0);
    let texts = [&accounts.passwd, &accounts.group, &accounts.shadow, &accounts.gshadow];
    for (file, text) in FILES.into_iter().zip(texts) {
        let secret = file.ends_with("shadow");
        let (mode, gid) = if secret { (0o640, shadow_group) } else { (0o644, 0) };
        let written = target.write(&path(file), mode, Ids { uid: 0, gid }, text.as_bytes());
        written.farm(|| format!("write `{file}` of the tree"))?;
    }
    Ok(())
}

fn make_home(target: &Target, home: &Home) -> std::io::Result<()> {
    let bad = |error| std::io::Error::new(std::io::ErrorKind::InvalidInput, error);
    let at = GuestPath::new(&home.path).map_err(bad)?;
    let ids = Ids { uid: home.uid, gid: home.gid };
    if !target.exists(&at) {
        target.mkdir(&at, 0o700, ids)?;
        copy_skeleton(target, &path("/etc/skel"), &at, ids)?;
    }
    if home.ssh_keys.is_empty() {
        return Ok(());
    }
    let folder = at.join(".ssh").map_err(bad)?;
    target.mkdir(&folder, 0o700, ids)?;
    let text: String = home.ssh_keys.iter().map(|key| format!("{}\n", key.trim_end())).collect();
    target.write(&folder.join("authorized_keys").map_err(bad)?, 0o600, ids, text.as_bytes())
}

fn copy_skeleton(target: &Target, from: &GuestPath, to: &GuestPath, ids: Ids) -> std::io::Result<()> {
    let bad = |error| std::io::Error::new(std::io::ErrorKind::InvalidInput, error);
    for name in target.names(from)? {
        let (from, to) = (from.join(&name).map_err(bad)?, to.join(&name).map_err(bad)?);
        if let Some(link) = target.link(&from) {
            target.symlink(&to, &link, ids)?;
        } else if let Ok(Some(bytes)) = target.read(&from) {
            target.write(&to, 0o644, ids, &bytes)?;
        } else {
            target.mkdir(&to, 0o755, ids)?;
            copy_skeleton(target, &from, &to, ids)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `perl -e 'print crypt("hello", q($6$rounds=5000$k2XAnEHBqQ1Ct2aM$))'` prints.
    #[test]
    fn a_hash_is_what_others_compute() {
        let hash = hashed("hello", "0123456789ab").unwrap();
        let crypt = "kKgROJUwJ9G/QuCn3rHQCy45bkf0d1Hj6Z8mQmypPGlBabIdADjuYYxco4UaiYfKMFZyXykhbI8puWMNMYQqO.";
        assert_eq!(hash, format!("$6$rounds=5000$k2XAnEHBqQ1Ct2aM${crypt}"));
    }
}
