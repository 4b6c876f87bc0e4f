//! What `kiln doctor` looks at: the sandbox's own probes, memory, the mirror, the clock, whether guests run under KVM.

use std::fs;
use std::path::Path;

use kiln_engine::boot::{Accel, Programs, accel};
use kiln_engine::config::Config;
use kiln_family::deb::release::parse_date;
use kiln_fetch::{Answer, Fetcher};
use kiln_model::Fault;
use kiln_model::fault::OrFault as _;
use kiln_recipe::catalogue::board;
pub use kiln_sandbox::Probe as Finding;
use kiln_sandbox::Scratch;

use crate::{settings, text};

/// Bytes of memory that a build and one of dpkg's scripts need.
const MEMORY: u64 = 500_000_000;
/// Seconds by which the clock may be wrong before new signatures seem to come from the future.
const SKEW: u64 = 300;
/// Longest InRelease that is read, in bytes.
const RELEASE: u64 = 4 << 20;

/// Tries everything, in the order in which a build would need it.
pub fn examine(config: &Config) -> Result<Vec<Finding>, Fault> {
    let cache = cache(&config.cache);
    // Where the cache cannot be used, the rest is still worth knowing.
    let elsewhere = if cache.ok { None } else { Some(tempfile::tempdir().farm(|| "make a temporary folder".into())?) };
    let folder = elsewhere.as_ref().map_or(config.cache.as_path(), |folder| folder.path());
    let mut findings = vec![cache];
    findings.extend(kiln_sandbox::probe(folder));
    findings.push(memory(&fs::read_to_string("/proc/meminfo").unwrap_or_default()));
    // Guests need the sandbox, and its way in a process with one thread; the mirror comes after.
    findings.push(guests(folder));
    if !config.offline {
        findings.extend(mirror(config));
    }
    Ok(findings)
}

fn finding(name: &str, tried: Result<String, String>, mend: Option<&str>, optional: bool) -> Finding {
    let (ok, cause) = tried.map_or_else(|why| (false, why), |how| (true, how));
    Finding { name: name.into(), ok, optional, cause, mend: mend.map(str::to_owned) }
}

/// Whether the cache can be written, as by making a file in it.
fn cache(folder: &Path) -> Finding {
    let written = fs::create_dir_all(folder).and_then(|()| tempfile::tempfile_in(folder));
    let tried = match written {
        Ok(_) => Ok(format!("`{}` can be written", folder.display())),
        Err(error) => Err(format!("`{}` cannot be written: {}", folder.display(), plain(&error))),
    };
    finding("cache", tried, Some("name a folder that you may write to: export KILN_CACHE=/path/to/folder"), false)
}

/// Returns an error without the name of a file that was only tried.
fn plain(error: &std::io::Error) -> String {
    error.kind().to_string()
}

fn memory(meminfo: &str) -> Finding {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()).unwrap_or_default();
    let available = format!("{} available", text::bytes(kib * 1024));
    let tried = if kib * 1024 >= MEMORY {
        Ok(available)
    } else {
        Err(format!("{available}, {} are needed", text::bytes(MEMORY)))
    };
    finding("memory", tried, Some("end other programs, or add swap: `swapon FILE`"), false)
}

/// Whether guests run under KVM, as `kiln boot` finds out; the host's own QEMU is needed to tell.
fn guests(cache: &Path) -> Finding {
    let tried = guest(cache).unwrap_or_else(|fault| Err(fault.chain()));
    finding("guests", tried, Some("none needed: guests run under emulation, more slowly"), true)
}

fn guest(cache: &Path) -> Result<Result<String, String>, Fault> {
    let board = board::find("generic-x86_64").and_then(|board| board.qemu.as_ref());
    let board = board.ok_or_else(|| Fault::farm("the catalogue has no PC"))?;
    let Some(programs) = Programs::below(Path::new("/"), board) else {
        return Ok(Ok("no QEMU on this machine; kiln brings its own when it boots an image".into()));
    };
    let sandbox = settings::enter()?;
    let scratch = Scratch::new(&cache.join("scratch"), "doctor")?;
    let choice = accel::probe(&programs, board, &*sandbox, scratch.path())?;
    let said = format!("run under {}: {}", choice.accel.name(), choice.why);
    Ok(if choice.accel == Accel::Kvm { Ok(said) } else { Err(said) })
}

/// Whether the archive that builds would ask answers, and whether its clock and ours agree.
fn mirror(config: &Config) -> Vec<Finding> {
    let mend = Some("name another: export KILN_MIRROR_DEBIAN=http://…/debian");
    match answer(config) {
        Err(fault) => vec![finding("mirror", Err(fault.chain()), mend, false)],
        Ok(answer) => {
            let answers = finding("mirror", Ok(format!("`{}` answers", answer.url)), None, false);
            let told = answer.date.as_deref().and_then(parse_date);
            [Some(answers), told.map(|theirs| clock(theirs, config.now))].into_iter().flatten().collect()
        }
    }
}

fn answer(config: &Config) -> Result<Answer, Fault> {
    let loaded = kiln_engine::load::empty(config)?;
    let archive = loaded.completed.spec.base.repositories.first().ok_or_else(|| Fault::farm("no archive is known"))?;
    let url = |mirror: &String| format!("{mirror}/dists/{}/InRelease", archive.suite);
    let urls: Vec<String> = archive.uris.iter().map(url).collect();
    Ok(Fetcher::new(kiln_fetch::Options::default()).fetch_small(None, &urls, RELEASE)?)
}

/// Signatures and the dates of archives are judged by the clock.
fn clock(theirs: i64, ours: i64) -> Finding {
    let apart = text::count(theirs.abs_diff(ours), "second");
    let tried = if theirs.abs_diff(ours) <= SKEW {
        Ok(format!("{apart} from the mirror's"))
    } else {
        Err(format!("{apart} {} the mirror's", if ours < theirs { "behind" } else { "ahead of" }))
    };
    finding("clock", tried, Some("timedatectl set-ntp true"), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_the_kernel_tells_it() {
        let little = memory("MemTotal: 99999999 kB\nMemAvailable:  100000 kB\n");
        assert_eq!((little.ok, little.cause.as_str()), (false, "102.4 MB available, 500.0 MB are needed"));
        assert!(memory("MemAvailable:  1000000 kB\n").ok);
        assert!(!memory("").ok);
    }

    #[test]
    fn a_clock_that_is_wrong_is_told() {
        let cases = [(1000, 1000, true), (1000, 1300, true), (1000, 1301, false), (1000, 600, false)];
        cases.iter().for_each(|(theirs, ours, ok)| assert_eq!(clock(*theirs, *ours).ok, *ok, "{theirs} {ours}"));
        assert_eq!(clock(1000, 600).cause, "400 seconds behind the mirror's");
    }
}
