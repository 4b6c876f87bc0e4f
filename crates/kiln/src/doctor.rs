//! What `kiln doctor` looks at: the sandbox's own probes, memory, the mirror, the clock, whether guests run under KVM.

use std::fs;
use std::path::Path;

use kiln_engine::boot::{Accel, Programs, accel};
use kiln_engine::config::Config;
use kiln_fetch::Fetcher;
use kiln_model::Fault;
use kiln_model::fault::OrFault as _;
use kiln_recipe::catalogue::board;
use kiln_recipe::spec::Repository;
pub use kiln_sandbox::Probe as Finding;
use kiln_sandbox::Scratch;

use crate::{settings, text};

/// Bytes of memory that a build and one of dpkg's scripts need.
const MEMORY: u64 = 500_000_000;
/// Longest InRelease that is read, in bytes.
const RELEASE: u64 = 4 << 20;

/// Tries everything, in the order in which a build would need it.
pub fn examine(config: &Config) -> Result<Vec<Finding>, Fault> {
    fs::create_dir_all(&config.cache).farm(|| format!("make the cache `{}`", config.cache.display()))?;
    let mut findings = kiln_sandbox::probe(&config.cache);
    findings.push(memory(&fs::read_to_string("/proc/meminfo").unwrap_or_default()));
    // Guests need the sandbox, and its way in a process with one thread; the mirror comes after.
    findings.push(guests(&config.cache));
    if !config.offline {
        findings.push(mirror(config));
    }
    Ok(findings)
}

fn finding(name: &str, tried: Result<String, String>, mend: Option<&str>, optional: bool) -> Finding {
    let (ok, cause) = tried.map_or_else(|why| (false, why), |how| (true, how));
    Finding { name: name.into(), ok, optional, cause, mend: mend.map(str::to_owned) }
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
    let board = board::find("generic-x86_64").ok_or_else(|| Fault::farm("the catalogue has no PC"))?;
    let Some(programs) = Programs::below(Path::new("/"), &board.qemu) else {
        return Ok(Ok("no QEMU on this machine; kiln brings its own when it boots an image".into()));
    };
    let sandbox = settings::enter()?;
    let scratch = Scratch::new(&cache.join("scratch"), "doctor")?;
    let choice = accel::probe(&programs, &board.qemu, &*sandbox, scratch.path())?;
    let said = format!("run under {}: {}", choice.accel.name(), choice.why);
    Ok(if choice.accel == Accel::Kvm { Ok(said) } else { Err(said) })
}

/// Whether the archive that builds would ask answers.
fn mirror(config: &Config) -> Finding {
    let tried = kiln_engine::load::empty(config).map_err(|fault| fault.chain()).and_then(|loaded| {
        let main = loaded.completed.spec.base.repositories.first().cloned();
        answers(&main.ok_or("the recipe has no archive")?)
    });
    finding("mirror", tried, Some("name another: export KILN_MIRROR_DEBIAN=http://…/debian"), false)
}

fn answers(archive: &Repository) -> Result<String, String> {
    let url = |mirror: &String| format!("{mirror}/dists/{}/InRelease", archive.suite);
    let urls: Vec<String> = archive.uris.iter().map(url).collect();
    let answer = Fetcher::new(kiln_fetch::Options::default()).fetch_small(None, &urls, RELEASE);
    answer.map(|answer| format!("`{}` answers", answer.url)).map_err(|error| Fault::from(error).chain())
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
}
