//! `[base]`: distribution, release, architecture, board, and where packages come from.

use kiln_model::Arch;

use super::repository;
use crate::catalogue::{Board, Release, board, release};
use crate::desk::{Desk, Note};
use crate::forms::{COMPONENT, FINGERPRINT, LOCAL_PATH, SNAPSHOT, URI};
use crate::node::Span;
use crate::shape::{Form, Shape, Table, Wrong, did_you_mean, key, nearest};
use crate::spec::LocalFile;
use crate::view::{Said, View};

pub static KEYS: Table = Table {
    name: "[base]",
    doc: "What the image is made from.",
    keys: &[
        key("distribution", Shape::Text(&DISTRIBUTION), "The distribution.")
            .default("the one whose release `release` names; Debian where several have it")
            .example("\"debian\""),
        key("release", Shape::Text(&RELEASE), "The release: its number, codename or `stable`.")
            .in_the_end()
            .example("\"13\""),
        key(
            "architecture",
            Shape::Word(ARCHITECTURES),
            "The machine architecture, under Debian's name. Programs of another than the building machine's run in an \
             emulator that kiln brings; that needs Linux 6.7 or newer, or `apt-get install qemu-user-static binfmt-support`.",
        )
            .default("the board's; without a board, that of the machine that builds")
            .example("\"amd64\""),
        key("board", Shape::Text(&BOARD), "The machine the image starts on; it brings kernel, boot loader and disk layout.")
            .default("none: a tree without kernel")
            .example("\"generic-x86_64\""),
        key(
            "mirror",
            Shape::Either(&[Shape::Text(&URI), Shape::List(&Shape::Text(&URI))]),
            "Mirrors to fetch from, tried in order. The image's own sources name the first one too.",
        )
        .default("`KILN_MIRROR_<DISTRIBUTION>`, then the host's own package sources, then the distribution's official mirror")
        .example("\"http://ftp.debian.org/debian\"")
        .replaces(),
        key(
            "security-mirror",
            Shape::Either(&[Shape::Text(&URI), Shape::List(&Shape::Text(&URI))]),
            "Mirrors of the security archive, where the distribution has one of its own.",
        )
        .default("beside the mirror: `…/debian-security` for `…/debian`, then as for `mirror`")
        .replaces(),
        key("mirror-in-image", Shape::Text(&URI), "The address that the image's own sources name instead."),
        key(
            "key",
            Shape::Either(&[Shape::Text(&LOCAL_PATH), Shape::List(&Shape::Text(&LOCAL_PATH))]),
            "A file with the public keys of the distribution's archive, or several, in place of those that kiln brings; where it \
             brings those of some archives of a release, they are the others'.",
        )
        .replaces()
        .default("kiln's own: it brings those of Debian and Ubuntu"),
        key("fingerprints", Shape::List(&Shape::Text(&FINGERPRINT)), "Which of those keys count; all when it is absent."),
        key("components", Shape::List(&Shape::Text(&COMPONENT)), "Components of the archive.")
            .default("the release's own: `main` for Debian, and `non-free-firmware` where the board needs some")
            .example("[\"main\", \"non-free-firmware\"]")
            .replaces(),
        key("snapshot", Shape::Text(&SNAPSHOT), "Packages as they were at this moment, from the distribution's snapshot archive.")
            .example("\"2026-01-01\""),
        key("security", Shape::Bool, "Whether the security suite is used.").default("true"),
        key("updates", Shape::Bool, "Whether the updates suite is used.").default("true"),
        key("backports", Shape::Bool, "Whether the backports suite is used, at priority 100.").default("false"),
        key("check-valid-until", Shape::Bool, "Whether indexes that are past their date are refused.")
            .default("true; never with `snapshot`"),
        key("epoch", Shape::Integer { from: 0, to: 1 << 40 }, "SOURCE_DATE_EPOCH: no file of the image is newer. Seconds since 1970.")
            .default("the environment's SOURCE_DATE_EPOCH, else the date of the newest package index"),
        key(
            "tree",
            Shape::Text(&LOCAL_PATH),
            "A folder with a system of this distribution to build upon, such as an earlier output of format `dir`: it is copied as it \
             is, what it has installed is upgraded, and the rest is added.",
        )
        .default("a new one, from the base set"),
        key("repository", Shape::Tables(&repository::KEYS), ""),
    ],
    more: None,
};

static ARCHITECTURES: &[(&str, &str)] = &[
    ("amd64", "64-bit PCs"),
    ("arm64", "64-bit Arm"),
    ("armel", "32-bit Arm without hardware floating point"),
    ("armhf", "32-bit Arm with hardware floating point"),
    ("i386", "32-bit PCs"),
    ("ppc64el", "64-bit POWER, little endian"),
    ("riscv64", "64-bit RISC-V"),
];

static DISTRIBUTION: Form = Form {
    what: "a distribution",
    pattern: None,
    check: |text| {
        let known = release::distributions();
        if known.contains(&text) {
            return Ok(());
        }
        let message = format!("kiln knows no distribution `{text}`");
        Err(Wrong::new(message).code("unknown-release").maybe_hint(did_you_mean(text, known)))
    },
    hint: None,
};

static RELEASE: Form = Form { what: "a release as text, such as \"13\"", pattern: None, check: |_| Ok(()), hint: None };

static BOARD: Form = Form {
    what: "a board",
    pattern: None,
    check: |text| {
        if board::find(text).is_some() {
            return Ok(());
        }
        let names: Vec<&str> = board::all().iter().map(|board| board.name.as_str()).collect();
        Err(Wrong::new(format!("kiln knows no board `{text}`"))
            .code("unknown-board")
            .maybe_hint(did_you_mean(text, names)))
    },
    hint: None,
};

/// What everything else stands on.
#[derive(Clone, Copy)]
pub struct Ground {
    pub release: &'static Release,
    pub architecture: Arch,
    pub board: Option<Said<&'static Board>>,
    /// Where `[base]` is.
    pub span: Span,
}

impl Ground {
    /// Returns the components that the board's firmware is in; none for a board without.
    pub fn firmware_components(&self) -> Vec<String> {
        let needed = self.board.is_some_and(|board| !board.value.firmware.is_empty());
        if needed { self.release.firmware_components.clone() } else { vec![] }
    }
}

/// Returns the tree to build upon.
pub fn tree(view: View<'_>, ground: &Ground, desk: &Desk<'_>) -> Option<LocalFile> {
    let said = view.text("tree")?;
    let host = desk.host_path(said.span, said.value);
    match desk.sources.tree(&host, ground.release.family) {
        Ok(digest) => Some(LocalFile { path: desk.spec_path(&host), digest }),
        Err(error) => {
            let note = Note::error(said.span, "unreadable", format!("cannot read the tree `{}`", said.value));
            let note = note.label(error.to_string());
            desk.say(if host == said.value { note } else { note.hint(format!("looked for `{host}`")) });
            None
        }
    }
}

/// Finds release, architecture and board, and sees to it that they fit each other.
pub fn ground(view: View<'_>, desk: &Desk<'_>) -> Option<Ground> {
    let release = release_of(view, desk);
    let said = view.text("board");
    let board = said.and_then(|said| Some(Said { value: board::find(said.value)?, span: said.span }));
    let wanted = view.text("architecture");
    let architecture = match (wanted, board) {
        (Some(wanted), _) => wanted.value.parse().ok()?,
        (None, Some(board)) => board.value.usual_architecture(release),
        (None, None) => desk.options.host_arch,
    };
    let ground = Ground { release: release?, architecture, board, span: view.span };
    check_architecture(&ground, wanted, desk);
    check_board(&ground, wanted, desk);
    check_firmware(&ground, view, desk);
    Some(ground)
}

fn check_architecture(ground: &Ground, wanted: Option<Said<&str>>, desk: &Desk<'_>) {
    let release = ground.release;
    if !release.architectures.contains(&ground.architecture) {
        let all: Vec<String> = release.architectures.iter().map(|arch| format!("`{arch}`")).collect();
        let span = wanted.map_or(ground.span, |wanted| wanted.span);
        let message = format!("{} has no packages for `{}`", release.title, ground.architecture);
        desk.say(Note::error(span, "contradiction", message).hint(format!("it is made for {}", all.join(", "))));
    }
}

fn check_board(ground: &Ground, wanted: Option<Said<&str>>, desk: &Desk<'_>) {
    let Some(Said { value: board, span }) = ground.board else { return };
    let all = board.architectures.values().flatten();
    if !all.clone().any(|arch| *arch == ground.architecture) {
        let message = format!("board `{}` is not an `{}` machine", board.name, ground.architecture);
        let its = match board.architectures.get(&ground.release.distribution) {
            Some(its) => listed(its),
            None => listed(all),
        };
        let note = Note::error(span, "contradiction", message).label(format!("its architecture is {its}"));
        let note = note.maybe_hint(boards_for(ground));
        desk.say(match wanted {
            Some(wanted) => note.also(wanted.span, "said here"),
            None => note,
        });
    } else if board.kernel_in(ground.release, ground.architecture).is_none() {
        let message = match board.architectures.contains_key(&ground.release.distribution) {
            true if !board.starts_in(ground.release) => {
                format!("{} has no boot loader for board `{}`", ground.release.title, board.name)
            }
            true => {
                format!("{} has no `{}` kernel for board `{}`", ground.release.title, ground.architecture, board.name)
            }
            false => format!("{} has no kernel for board `{}`", ground.release.title, board.name),
        };
        let has = |release: &&Release| {
            let mut all = release.architectures.iter();
            all.any(|architecture| board.kernel_in(release, *architecture).is_some())
        };
        let releases: Vec<&str> = release::all().iter().filter(has).map(|release| release.title.as_str()).collect();
        let hint = format!("releases for it: {}", releases.join(", "));
        let hint = boards_for(ground).map_or_else(|| hint.clone(), |boards| format!("{hint}; {boards}"));
        desk.say(Note::error(span, "contradiction", message).hint(hint));
    }
}

fn listed<'a>(architectures: impl IntoIterator<Item = &'a Arch>) -> String {
    let mut words: Vec<String> = architectures.into_iter().map(|arch| format!("`{arch}`")).collect();
    words.sort();
    words.dedup();
    words.join(" or ")
}

/// The recipe's own list of components must hold the one with the board's firmware.
fn check_firmware(ground: &Ground, view: View<'_>, desk: &Desk<'_>) {
    let (Some(Said { value: board, span }), Some(at)) = (ground.board, view.key_span("components")) else { return };
    let said = view.strings("components");
    let missing = ground.firmware_components().into_iter().find(|component| !said.contains(component));
    if let Some(missing) = missing {
        let message = format!("board `{}` needs firmware from the component `{missing}`", board.name);
        let all: Vec<String> = said.iter().chain([&missing]).map(|word| format!("\"{word}\"")).collect();
        let note = Note::error(span, "contradiction", message).also(at, "which is not among these");
        desk.say(note.hint(format!("components = [{}], or leave it out", all.join(", "))));
    }
}

/// Names the boards that fit release and architecture.
fn boards_for(ground: &Ground) -> Option<String> {
    let fits = |board: &&Board| board.kernel_in(ground.release, ground.architecture).is_some();
    let names: Vec<String> = board::all().iter().filter(fits).map(|board| format!("`{}`", board.name)).collect();
    let what = format!("{} on `{}`", ground.release.title, ground.architecture);
    (!names.is_empty()).then(|| format!("boards for {what}: {}", names.join(", ")))
}

/// Finds the release by its word; without a distribution, Debian's goes before others of the same name.
fn release_of(view: View<'_>, desk: &Desk<'_>) -> Option<&'static Release> {
    let word = view.text("release")?;
    let distribution = view.text("distribution");
    if distribution.is_none() && view.has("distribution") {
        return None;
    }
    let among = |release: &&Release| distribution.is_none_or(|said| said.value == release.distribution);
    let found = release::all().iter().filter(among).find(|release| release.is_called(word.value));
    if found.is_none() {
        desk.say(unknown_release(word, distribution));
    }
    found
}

fn unknown_release(word: Said<&str>, distribution: Option<Said<&str>>) -> Note {
    let of = |name: &str| distribution.is_none_or(|said| said.value == name);
    let ended = release::ended()
        .iter()
        .find(|ended| of(&ended.distribution) && ended.names.iter().any(|name| name == word.value));
    if let Some(ended) = ended {
        let message = format!("{} `{}` is no longer supported by its makers", ended.distribution, word.value);
        return Note::error(word.span, "ended-release", message)
            .hint(format!("its successor is `{}`", ended.successor));
    }
    let known = || release::all().iter().filter(|release| of(&release.distribution));
    let of_distribution = distribution.map(|said| format!(" of `{}`", said.value)).unwrap_or_default();
    let words: Vec<&str> = known().flat_map(Release::words).collect();
    let hint = match nearest(word.value, words.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => {
            let all: Vec<String> =
                known().map(|release| format!("`{}` ({})", release.release, release.title)).collect();
            format!("possible here: {}", all.join(", "))
        }
    };
    let message = format!("kiln knows no release `{}`{of_distribution}", word.value);
    Note::error(word.span, "unknown-release", message).hint(hint)
}
