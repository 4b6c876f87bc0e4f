//! Which ids exist inside: all of root's own, or an ordinary user and the subordinate ids lent to them.

use std::fs;

use rustix::process::{getgid, getuid};

use super::{Entered, IdRange};
use crate::error::Doing;
use crate::{Error, Result, sys};

/// Ids below this must exist: 65534 is nobody.
const NEEDED: u64 = 65535;

/// The two maps of a new user namespace.
pub(crate) struct Maps {
    pub uids: Vec<IdRange>,
    pub gids: Vec<IdRange>,
    /// Whether this process may write them itself; else newuidmap and newgidmap do.
    pub own_right: bool,
}

/// Decides the maps for the calling user.
pub(crate) fn maps() -> Result<Maps> {
    if rustix::process::geteuid().is_root() {
        return Ok(Maps {
            uids: identity("/proc/self/uid_map")?,
            gids: identity("/proc/self/gid_map")?,
            own_right: true,
        });
    }
    let uid = getuid().as_raw();
    let user = sys::user_name(uid).unwrap_or_else(|| uid.to_string());
    let text = |file: &str| fs::read_to_string(file).unwrap_or_default();
    lent(&user, uid, getgid().as_raw(), &text("/etc/subuid"), &text("/etc/subgid"))
}

/// Decides the maps of an ordinary user from the texts of `/etc/subuid` and `/etc/subgid`.
fn lent(user: &str, uid: u32, gid: u32, subuid: &str, subgid: &str) -> Result<Maps> {
    let uids = stack(uid, &parse_subordinate(subuid, user, uid));
    let gids = stack(gid, &parse_subordinate(subgid, user, uid));
    let (few_uids, few_gids) = (few(&uids), few(&gids));
    if !few_uids && !few_gids {
        return Ok(Maps { uids, gids, own_right: false });
    }
    let first = free(subuid).max(free(subgid));
    let range = format!("{first}-{}", first + 65535);
    let add = |few, word: &str| if few { format!(" --add-{word} {range}") } else { String::new() };
    let mend = format!("sudo usermod{}{} {user}", add(few_uids, "subuids"), add(few_gids, "subgids"));
    let file = if few_uids { "/etc/subuid" } else { "/etc/subgid" };
    let what = format!("user `{user}` has fewer than 65536 subordinate ids in `{file}`");
    Err(Error::Refused { what, mend: Some(mend), source: None })
}

fn few(ranges: &[IdRange]) -> bool {
    ranges.iter().map(|range| u64::from(range.count)).sum::<u64>() < NEEDED
}

/// Returns every id that exists here, each as itself.
pub(crate) fn identity(map: &str) -> Result<Vec<IdRange>> {
    let same = |range: IdRange| IdRange { outside: range.inside, ..range };
    Ok(read(map)?.into_iter().map(same).collect())
}

/// Returns the maps of the namespace we are in.
pub(crate) fn entered() -> Result<Entered> {
    Ok(Entered { uids: read("/proc/self/uid_map")?, gids: read("/proc/self/gid_map")? })
}

/// Reads a uid_map or gid_map.
fn read(map: &str) -> Result<Vec<IdRange>> {
    Ok(parse_map(&fs::read_to_string(map).doing(|| format!("read `{map}`"))?))
}

fn parse_map(text: &str) -> Vec<IdRange> {
    let range = |line: &str| {
        let mut numbers = line.split_whitespace().map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(IdRange { inside: next()?, outside: next()?, count: next()? })
    };
    text.lines().filter_map(range).collect()
}

/// Writes ranges as the kernel, newuidmap and newgidmap read them.
pub(crate) fn lines(ranges: &[IdRange]) -> String {
    ranges.iter().map(|range| format!("{} {} {}\n", range.inside, range.outside, range.count)).collect()
}

/// Returns the first id that no line of a subordinate id file gives away.
fn free(text: &str) -> u64 {
    let end = |line: &str| {
        let mut numbers = line.split(':').skip(1).map(str::trim).map(str::parse::<u64>);
        Some(numbers.next()?.ok()? + numbers.next()?.ok()?)
    };
    text.lines().filter_map(end).max().unwrap_or(0).max(100_000)
}

fn parse_subordinate(text: &str, user: &str, uid: u32) -> Vec<(u32, u32)> {
    let uid = uid.to_string();
    let range = |line: &str| {
        let mut words = line.split(':').map(str::trim);
        let whose = words.next()?;
        let ours = whose == user || whose == uid;
        let range = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        ours.then_some(range)
    };
    text.lines().filter_map(range).collect()
}

/// Root inside is the user; the lent ranges follow one after the other.
fn stack(own: u32, ranges: &[(u32, u32)]) -> Vec<IdRange> {
    let mut map = vec![IdRange { inside: 0, outside: own, count: 1 }];
    let mut inside = 1_u32;
    for &(outside, count) in ranges {
        let count = count.min(u32::MAX - inside);
        map.push(IdRange { inside, outside, count });
        inside += count;
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lent_ranges_follow_the_user() {
        let text = "other:1:2\nada:100000:65536\n# no\n1000:300000:10\nada:bad:1\n";
        let lent = parse_subordinate(text, "ada", 1000);
        assert_eq!(lent, [(100_000, 65536), (300_000, 10)]);
        assert_eq!(lines(&stack(1000, &lent)), "0 1000 1\n1 100000 65536\n65537 300000 10\n");
    }

    #[test]
    fn a_map_reads_back() {
        let text = "         0          0 4294967295\n";
        assert_eq!(parse_map(text), [IdRange { inside: 0, outside: 0, count: u32::MAX }]);
        assert_eq!(lines(&parse_map(text)), "0 0 4294967295\n");
    }

    #[test]
    fn the_mending_command_takes_ids_nobody_has() {
        assert_eq!(free(""), 100_000);
        assert_eq!(free("a:100000:65536\nb:165536:65536\n"), 231_072);
        let mend = |subuid, subgid| match lent("ada", 1000, 1000, subuid, subgid) {
            Err(Error::Refused { mend, .. }) => mend.unwrap(),
            _ => panic!("too few ids"),
        };
        let both = "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ada";
        assert_eq!(mend("", ""), both);
        assert_eq!(mend("ada:100000:65536", "eve:100000:65536"), "sudo usermod --add-subgids 165536-231071 ada");
        assert!(lent("ada", 1000, 1000, "ada:100000:65536", "ada:100000:65536").is_ok());
    }
}
