//! `OS` and `DEVICE`: the release, the architecture and the board they mean, and what to take where they mean nothing any more.

use kiln_model::Arch;

use super::declare::Parameters;
use super::pair::Pair;
use super::sheets::Refused;
use crate::catalogue::{Board, Release, board, release};
use crate::desk::Note;
use crate::shape::did_you_mean;
use crate::spec::Family;

/// What an image is made of and for.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub release: &'static Release,
    pub architecture: Arch,
    /// None where the pair's own definition says how the board starts, and for a chroot.
    pub board: Option<&'static Board>,
}

/// Splits `OS` into distribution, codename and architecture.
pub fn pieces(parameters: &Parameters) -> Result<[&str; 3], Refused> {
    let pieces: Vec<&str> = parameters.text("OS").split('-').collect();
    <[&str; 3]>::try_from(pieces).map_err(|_| {
        let note =
            Note::error(parameters.span("OS"), "parameter", format!("`{}` has no three parts", parameters.text("OS")))
                .hint("for example: OS=debian-trixie-arm64");
        let fatal = "Use the following naming convention for OS: <distro name>-<codename>-<arch>.";
        parameters.sheets.refuse(fatal, note)
    })
}

/// Finds what `OS` and `DEVICE` mean; a pair's own definition may bring codename and board.
pub fn target(parameters: &Parameters, pair: Option<&Pair>) -> Result<Target, Refused> {
    let [distribution, codename, architecture] = pieces(parameters)?;
    let codename = pair.and_then(|pair| pair.codename.as_ref()).map_or(codename, |said| &said.text);
    let fatal = if pair.is_some() { cannot_be(parameters) } else { no_pair(parameters) };
    let found = release(parameters, kilns(distribution), codename, architecture, &fatal)?;
    let architecture = arch(parameters, found, architecture, fatal)?;
    let board = match pair {
        _ if parameters.is_on("CREATE_ONLY_CHROOT") => None,
        Some(_) => {
            board::find(parameters.text("DEVICE")).filter(|board| board.kernel_in(found, architecture).is_some())
        }
        None => Some(known_board(parameters, found, architecture)?),
    };
    Ok(Target { release: found, architecture, board })
}

/// Returns kiln's word for a distribution.
fn kilns(distribution: &str) -> &str {
    if matches!(distribution, "raspberrypios" | "raspbian") { "raspios" } else { distribution }
}

fn piemans(distribution: &str) -> &str {
    if distribution == "raspios" { "raspberrypios" } else { distribution }
}

/// Returns the `OS` that means a release.
pub fn os_name(release: &Release, architecture: Arch) -> String {
    // Alpine's releases have numbers alone; `v3.22` is a folder.
    let name = if release.family == Family::Apk { &release.release } else { &release.codename };
    let codename = name.strip_prefix(&format!("{}-", release.distribution)).unwrap_or(name);
    format!("{}-{codename}-{architecture}", piemans(&release.distribution))
}

/// What Pieman says about a pair that is not there.
fn no_pair(parameters: &Parameters) -> String {
    format!("devices/{}/{}/pieman.yml does not exist", parameters.text("DEVICE"), parameters.text("OS"))
}

/// What is said where the pair is there.
fn cannot_be(parameters: &Parameters) -> String {
    format!("{} cannot be built", parameters.text("OS"))
}

fn release(
    parameters: &Parameters,
    distribution: &str,
    codename: &str,
    architecture: &str,
    fatal: &str,
) -> Result<&'static Release, Refused> {
    if let Some(found) = release::find(distribution, codename) {
        return Ok(found);
    }
    let named = |name: &&str| *name == codename;
    let ended = release::ended().iter().find(|ended| {
        ended.distribution == distribution && ended.names.iter().map(String::as_str).any(|name| named(&name))
    });
    let successor = ended.and_then(|ended| release::find(distribution, &ended.successor));
    let (code, message) = if ended.is_some() {
        ("ended-release", format!("`{}-{codename}` is no longer supported by its makers", piemans(distribution)))
    } else {
        ("unknown-release", format!("kiln knows no `{}-{codename}`", piemans(distribution)))
    };
    let note = Note::error(parameters.span("OS"), code, message);
    let hint = way_out(parameters, successor, architecture.parse().ok());
    Err(parameters.sheets.refuse(fatal, note.hint(hint)))
}

fn arch(
    parameters: &Parameters,
    release: &'static Release,
    architecture: &str,
    fatal: String,
) -> Result<Arch, Refused> {
    let parsed: Option<Arch> = architecture.parse().ok();
    if let Some(arch) = parsed.filter(|arch| release.architectures.contains(arch)) {
        return Ok(arch);
    }
    let fatal = if parsed.is_none() { format!("Unknown architecture {architecture}.") } else { fatal };
    let message = format!("{} has no packages for `{architecture}`", release.title);
    let note = Note::error(parameters.span("OS"), "contradiction", message);
    Err(parameters.sheets.refuse(fatal, note.hint(way_out(parameters, Some(release), None))))
}

fn known_board(
    parameters: &Parameters,
    release: &'static Release,
    architecture: Arch,
) -> Result<&'static Board, Refused> {
    let device = parameters.text("DEVICE");
    let Some(board) = board::find(device) else {
        let names: Vec<&str> = board::all().iter().map(|board| board.name.as_str()).collect();
        let note = Note::error(parameters.span("DEVICE"), "unknown-board", format!("kiln knows no board `{device}`"));
        let own = format!("a board of your own needs `devices/{device}/{}/pieman.yml`", parameters.text("OS"));
        let hint = did_you_mean(device, names).map_or(own.clone(), |near| format!("{near}; {own}"));
        return Err(parameters.sheets.refuse(no_pair(parameters), note.hint(hint)));
    };
    if board.kernel_in(release, architecture).is_some() {
        return Ok(board);
    }
    let message = format!("{} has no `{architecture}` kernel for the {}", release.title, board.title);
    let note =
        Note::error(parameters.span("OS"), "contradiction", message).also(parameters.span("DEVICE"), "this device");
    Err(parameters.sheets.refuse(no_pair(parameters), note.hint(way_out(parameters, Some(release), None))))
}

/// Returns what to write instead: the successor where it runs on the device, else everything that does.
fn way_out(parameters: &Parameters, successor: Option<&'static Release>, wanted: Option<Arch>) -> String {
    let board = board::find(parameters.text("DEVICE")).filter(|_| !parameters.is_on("CREATE_ONLY_CHROOT"));
    let runs = |release: &Release, arch: &Arch| board.is_none_or(|board| board.kernel_in(release, *arch).is_some());
    let of = |release: &'static Release| {
        let mut all: Vec<Arch> = release.architectures.iter().copied().filter(|arch| runs(release, arch)).collect();
        all.sort_by_key(|arch| Some(*arch) != wanted);
        all
    };
    if let Some((release, arch)) = successor.and_then(|release| Some((release, of(release).first().copied()?))) {
        let narrower = wanted.is_none_or(|wanted| wanted == arch);
        let why = if narrower { String::new() } else { format!(", which has it for `{arch}` alone") };
        return format!("take its successor: OS={}{why}", os_name(release, arch));
    }
    let all = release::all().iter().flat_map(|release| of(release).into_iter().map(|arch| os_name(release, arch)));
    let names: Vec<String> = all.collect();
    match board {
        Some(board) => format!("what starts on DEVICE={}: {}", board.name, names.join(", ")),
        None => format!("possible here: {}", names.join(", ")),
    }
}
