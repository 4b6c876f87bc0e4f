//! Users and groups as text: `passwd`, `group`, `shadow` and `gshadow` in, the same with the wanted accounts out.
//!
//! Ids follow adduser: the first free from 1000 for people, from 999 downwards for system accounts and groups
//! (see passwd(5), shadow(5) and Debian policy 9.2).

use std::collections::BTreeMap;

use kiln_model::action::User;

/// The four account files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    pub passwd: String,
    pub group: String,
    pub shadow: String,
    pub gshadow: String,
}

/// A home directory to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    pub path: String,
    pub uid: u32,
    pub gid: u32,
    pub ssh_keys: Vec<String>,
}

/// Why an account cannot be made.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("user `{user}`: id {uid} already belongs to `{taken}`")]
    Taken { user: String, uid: u32, taken: String },
    #[error("user `{user}`: no free id is left from {from} to {to}")]
    Full { user: String, from: u32, to: u32 },
}

/// Returns the files with `users` in them, and their homes; `hashes` has the password field of those that have one.
pub fn apply(
    accounts: &Accounts,
    users: &[User],
    hashes: &BTreeMap<String, String>,
) -> Result<(Accounts, Vec<Home>), Error> {
    let mut files = Files::parse(accounts);
    let homes = users.iter().map(|user| files.put(user, hashes.get(&user.name))).collect::<Result<_, _>>()?;
    Ok((files.print(), homes))
}

/// Looks up a name in a `passwd` or `group` text; numbers stand for themselves.
pub fn id_of(text: &str, name: &str) -> Option<u32> {
    let listed = rows(text).into_iter().find(|row| row[0] == name).and_then(|row| row.get(2)?.parse().ok());
    listed.or_else(|| name.parse().ok())
}

/// Colon-separated rows.
type Rows = Vec<Vec<String>>;

struct Files {
    passwd: Rows,
    group: Rows,
    shadow: Rows,
    gshadow: Rows,
}

fn rows(text: &str) -> Rows {
    text.lines().filter(|line| !line.is_empty()).map(|line| line.split(':').map(str::to_owned).collect()).collect()
}

fn print(rows: &Rows) -> String {
    rows.iter().map(|row| row.join(":") + "\n").collect()
}

impl Files {
    fn parse(accounts: &Accounts) -> Self {
        let Accounts { passwd, group, shadow, gshadow } = accounts;
        Self { passwd: rows(passwd), group: rows(group), shadow: rows(shadow), gshadow: rows(gshadow) }
    }

    fn print(&self) -> Accounts {
        let (passwd, group) = (print(&self.passwd), print(&self.group));
        Accounts { passwd, group, shadow: print(&self.shadow), gshadow: print(&self.gshadow) }
    }

    /// Adds a user, or changes the one that exists: what the recipe says wins, the rest stays.
    fn put(&mut self, user: &User, hash: Option<&String>) -> Result<Home, Error> {
        let (uid, gid, home) = match self.passwd.iter().position(|row| row[0] == user.name) {
            Some(at) => self.change(at, user),
            None => self.add(user)?,
        };
        self.password(user, hash);
        for group in &user.groups {
            self.join(&user.name, group)?;
        }
        Ok(Home { path: home, uid, gid, ssh_keys: user.ssh_keys.clone() })
    }

    fn change(&mut self, at: usize, user: &User) -> (u32, u32, String) {
        let row = &mut self.passwd[at];
        row.resize(7, String::new());
        if !user.gecos.is_empty() {
            row[4].clone_from(&user.gecos);
        }
        if !user.home.is_empty() {
            row[5].clone_from(&user.home);
        }
        if !user.shell.is_empty() {
            row[6].clone_from(&user.shell);
        }
        (row[2].parse().unwrap_or(0), row[3].parse().unwrap_or(0), row[5].clone())
    }

    fn add(&mut self, user: &User) -> Result<(u32, u32, String), Error> {
        let uid = self.uid(user)?;
        let gid = match id_in(&self.group, &user.name) {
            Some(gid) => gid,
            None => self.add_group(&user.name, Some(uid), user.system)?,
        };
        let row = [&user.name, "x", &uid.to_string(), &gid.to_string(), &user.gecos, &user.home, &user.shell];
        self.passwd.push(row.map(str::to_owned).into());
        Ok((uid, gid, user.home.clone()))
    }

    fn uid(&self, user: &User) -> Result<u32, Error> {
        let Some(uid) = user.uid else { return free(&[&self.passwd, &self.group], user.system, &user.name) };
        match self.passwd.iter().find(|row| row.get(2).is_some_and(|taken| *taken == uid.to_string())) {
            Some(row) => Err(Error::Taken { user: user.name.clone(), uid, taken: row[0].clone() }),
            None => Ok(uid),
        }
    }

    /// Adds a group, with the wanted id where that is free.
    fn add_group(&mut self, name: &str, wanted: Option<u32>, system: bool) -> Result<u32, Error> {
        let taken = |gid: u32| self.group.iter().any(|row| row.get(2).is_some_and(|id| *id == gid.to_string()));
        let gid = match wanted.filter(|gid| !taken(*gid)) {
            Some(gid) => gid,
            None => free(&[&self.group, &self.passwd], system, name)?,
        };
        self.group.push([name, "x", &gid.to_string(), ""].map(str::to_owned).into());
        self.gshadow.push([name, "!", "", ""].map(str::to_owned).into());
        Ok(gid)
    }

    fn join(&mut self, user: &str, group: &str) -> Result<(), Error> {
        if id_in(&self.group, group).is_none() {
            self.add_group(group, None, true)?;
        }
        for rows in [&mut self.group, &mut self.gshadow] {
            if let Some(row) = rows.iter_mut().find(|row| row[0] == group) {
                row.resize(4, String::new());
                add_member(&mut row[3], user);
            }
        }
        Ok(())
    }

    /// Sets the password field; without a hash a new account is locked and an existing one keeps what it has.
    fn password(&mut self, user: &User, hash: Option<&String>) {
        match (self.shadow.iter_mut().find(|row| row[0] == user.name), hash) {
            (Some(row), Some(hash)) => {
                row.resize(9, String::new());
                row[1].clone_from(hash);
                row[2] = user.changed.to_string();
            }
            (Some(_), None) => {}
            (None, hash) => {
                let field = hash.map_or("!", String::as_str);
                let row = [&user.name, field, &user.changed.to_string(), "0", "99999", "7", "", "", ""];
                self.shadow.push(row.map(str::to_owned).into());
            }
        }
    }
}

fn id_in(rows: &Rows, name: &str) -> Option<u32> {
    rows.iter().find(|row| row[0] == name).and_then(|row| row.get(2)?.parse().ok())
}

fn add_member(members: &mut String, user: &str) {
    if members.split(',').any(|member| member == user) {
        return;
    }
    if !members.is_empty() {
        members.push(',');
    }
    members.push_str(user);
}

/// Returns the first id that none of the files uses.
fn free(files: &[&Rows], system: bool, name: &str) -> Result<u32, Error> {
    let used = |id: u32| {
        files.iter().any(|rows| rows.iter().any(|row| row.get(2).is_some_and(|text| *text == id.to_string())))
    };
    let (found, from, to) = match system {
        true => ((100..=999).rev().find(|id| !used(*id)), 100, 999),
        false => ((1000..=59_999).find(|id| !used(*id)), 1000, 59_999),
    };
    found.ok_or_else(|| Error::Full { user: name.to_owned(), from, to })
}

#[cfg(test)]
mod tests {
    use kiln_model::action::Password;

    use super::*;

    fn user(name: &str) -> User {
        User {
            name: name.into(),
            uid: None,
            gecos: String::new(),
            home: format!("/home/{name}"),
            shell: "/bin/bash".into(),
            groups: vec!["sudo".into(), "gpio".into()],
            system: false,
            password: Password::Locked,
            ssh_keys: vec![],
            changed: 20_000,
        }
    }

    fn base() -> Accounts {
        Accounts {
            passwd: "root:x:0:0:root:/root:/bin/bash\n".into(),
            group: "root:x:0:\nsudo:x:27:\n".into(),
            shadow: "root:*:19000:0:99999:7:::\n".into(),
            gshadow: "root:*::\nsudo:*::\n".into(),
        }
    }

    #[test]
    fn a_new_user_gets_ids_groups_and_a_locked_password() {
        let (accounts, homes) = apply(&base(), &[user("pi")], &BTreeMap::new()).unwrap();
        assert_eq!(accounts.passwd, "root:x:0:0:root:/root:/bin/bash\npi:x:1000:1000::/home/pi:/bin/bash\n");
        assert_eq!(accounts.group, "root:x:0:\nsudo:x:27:pi\npi:x:1000:\ngpio:x:999:pi\n");
        assert_eq!(accounts.shadow, "root:*:19000:0:99999:7:::\npi:!:20000:0:99999:7:::\n");
        assert_eq!(accounts.gshadow, "root:*::\nsudo:*::pi\npi:!::\ngpio:!::pi\n");
        assert_eq!((homes[0].uid, homes[0].gid), (1000, 1000));
    }

    #[test]
    fn applying_twice_changes_nothing() {
        let (once, _) = apply(&base(), &[user("pi")], &BTreeMap::new()).unwrap();
        let (twice, _) = apply(&once, &[user("pi")], &BTreeMap::new()).unwrap();
        assert_eq!(once, twice);
    }

    #[test]
    fn roots_hash_is_set_and_taken_ids_are_told() {
        let hashes = BTreeMap::from([("root".to_owned(), "$6$x$y".to_owned())]);
        let root = User { groups: vec![], home: "/root".into(), ..user("root") };
        let (accounts, _) = apply(&base(), &[root], &hashes).unwrap();
        assert_eq!(accounts.shadow, "root:$6$x$y:20000:0:99999:7:::\n");
        let clash = User { uid: Some(0), ..user("toor") };
        let error = apply(&base(), &[clash], &BTreeMap::new()).unwrap_err();
        assert_eq!(error.to_string(), "user `toor`: id 0 already belongs to `root`");
    }
}
