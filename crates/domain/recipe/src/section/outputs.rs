//! `[[output]]`: what the build makes.

use kiln_model::GuestPath;
use kiln_model::action::{Algorithm, Compression};

use super::base::Ground;
use crate::desk::{Desk, Note};
use crate::forms::{GUEST_PATH, NAME};
use crate::node::Span;
use crate::shape::{Shape, Table, key};
use crate::spec::{Format, Output};
use crate::view::{Said, View};

pub static KEYS: Table = Table {
    name: "[[output]]",
    doc: "An artifact. A recipe may ask for several of the same image, and for none where its board says what is usual.",
    keys: &[
        key("format", Shape::Word(FORMATS), "What it is.").here().example("\"raw\""),
        key("compression", Shape::Word(COMPRESSIONS), "What it is packed with.").default("\"none\"").example("\"zst\""),
        key(
            "level",
            Shape::Integer { from: 0, to: 22 },
            "How hard it is packed: zst 1 to 22, xz 0 to 9, gz and bz2 1 to 9.",
        )
        .default("zst 3, xz 6, gz 6, bz2 9"),
        key("inner", Shape::Word(INNER), "For squashfs and erofs: the compressor inside.")
            .default("squashfs \"zstd\", erofs \"lz4hc\""),
        key("path", Shape::Text(&GUEST_PATH), "For a file: where it is in the finished tree; links are followed.")
            .example("\"/root/agent_1.2_amd64.deb\""),
        key("name", Shape::Text(&NAME), "The file's name without its endings.")
            .default("the image's name; of a file its own, with its ending"),
        key("ending", Shape::Text(&NAME), "The ending of the file's name, before that of the compression.")
            .default("the format's word; none for a folder")
            .example("\"img\""),
    ],
    more: None,
};

static FORMATS: &[(&str, &str)] = &[
    ("raw", "a disk, byte for byte; sparse"),
    ("qcow2", "a disk for QEMU"),
    ("tar", "the tree as a tar archive"),
    ("squashfs", "the tree as a squashfs filesystem"),
    ("erofs", "the tree as an erofs filesystem"),
    ("dir", "the tree as a folder"),
    ("file", "one file of the tree: a package or a kernel that was made in it"),
    ("mender", "the root filesystem as an update for devices with Mender's client: an artifact of format version 3"),
];

static COMPRESSIONS: &[(&str, &str)] =
    &[("none", "not at all"), ("zst", "zstd"), ("xz", "xz"), ("gz", "gzip"), ("bz2", "bzip2")];

static INNER: &[(&str, &str)] = &[
    ("none", "erofs"),
    ("zstd", "both"),
    ("xz", "squashfs"),
    ("gzip", "squashfs"),
    ("lzo", "squashfs"),
    ("lz4", "both"),
    ("lz4hc", "erofs"),
    ("lzma", "erofs"),
    ("deflate", "erofs"),
];

/// Which of [`INNER`] a filesystem has.
const SQUASHFS: [&str; 5] = ["zstd", "xz", "gzip", "lzo", "lz4"];
const EROFS: [&str; 6] = ["none", "zstd", "lz4", "lz4hc", "lzma", "deflate"];

impl Format {
    /// Whether it is a disk with a partition table.
    pub const fn is_disk(self) -> bool {
        matches!(self, Self::Raw | Self::Qcow2)
    }

    /// Whether it is made of partitions, all of them or one.
    pub const fn is_divided(self) -> bool {
        self.is_disk() || matches!(self, Self::Mender)
    }

    /// Returns the word it has in recipes and as a file's ending.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Tar => "tar",
            Self::Squashfs => "squashfs",
            Self::Erofs => "erofs",
            Self::Dir => "dir",
            Self::File => "file",
            Self::Mender => "mender",
        }
    }

    fn of(word: &str) -> Option<Self> {
        let all = [Self::Raw, Self::Qcow2, Self::Tar, Self::Squashfs, Self::Erofs, Self::Dir, Self::File, Self::Mender];
        all.into_iter().find(|format| format.name() == word)
    }
}

/// Returns what the recipe asks for, else what is usual for the board.
pub fn read(root: View<'_>, name: &str, ground: &Ground, desk: &Desk<'_>) -> Vec<Output> {
    if !root.has("output") {
        return usual(name, ground, desk).into_iter().collect();
    }
    let mut outputs: Vec<Output> = Vec::new();
    for view in root.tables("output") {
        let Some(format) = view.text("format") else { continue };
        let Some(output) = one(view, format, name, desk) else { continue };
        if outputs.iter().any(|other| other.file == output.file) {
            let message = format!("two outputs are called `{}`", output.file);
            desk.say(Note::error(format.span, "duplicate", message).hint("give one of them a `name`"));
        }
        if output.format == Format::Mender && !root.has("mender") {
            let note = Note::error(format.span, "contradiction", "an artifact for Mender without a name");
            desk.say(note.hint("add a part headed `[mender]` with an `artifact-name`"));
        }
        outputs.push(output);
    }
    outputs
}

fn usual(name: &str, ground: &Ground, desk: &Desk<'_>) -> Option<Output> {
    let format = ground.board.and_then(|board| board.value.output);
    if format.is_none() {
        let note = Note::error(Span::default(), "missing-key", "the recipe does not say `output`");
        desk.say(note.hint("add a part headed `[[output]]`"));
    }
    let format = format?;
    Some(Output { format, compression: None, inner: None, path: None, file: format!("{name}.{}", format.name()) })
}

fn one(view: View<'_>, said: Said<&str>, name: &str, desk: &Desk<'_>) -> Option<Output> {
    let format = Format::of(said.value)?;
    let compression = compression(view, format, desk);
    let path = path(view, said, format, desk);
    if let (Some(path), Some(said), false) = (&path, view.text("path"), view.has("name"))
        && !is_name(path.name())
    {
        let message = format!("`{}` is no name for an artifact", String::from_utf8_lossy(path.name()).escape_debug());
        desk.say(Note::error(said.span, "bad-value", message).hint("give the output a `name`"));
    }
    let own = path.as_ref().map(|path| String::from_utf8_lossy(path.name()).into_owned());
    let stem = view.string("name").or(own).unwrap_or_else(|| name.to_owned());
    let usual = (!matches!(format, Format::Dir | Format::File)).then(|| format.name().to_owned());
    let ending = view.string("ending").or(usual).map(|ending| format!(".{ending}")).unwrap_or_default();
    let packed = compression.map(|compression| format!(".{}", compression.algorithm.ending())).unwrap_or_default();
    let inner = inner(view, format, desk);
    if format == Format::File && path.is_none() {
        return None;
    }
    Some(Output { format, compression, inner, path, file: format!("{stem}{ending}{packed}") })
}

/// Whether a file's name can be an artifact's: not hidden, printable, and none of those that kiln writes beside artifacts.
fn is_name(name: &[u8]) -> bool {
    let own = [".json", ".json.zst", ".bmap", ".partial"];
    std::str::from_utf8(name).is_ok_and(|name| {
        let taken = name == "SHA256SUMS" || own.iter().any(|ending| name.ends_with(ending));
        !taken && !name.starts_with('.') && !name.contains(|c: char| c.is_control() || c == '\\')
    })
}

/// Returns which file of the tree is meant.
fn path(view: View<'_>, format_said: Said<&str>, format: Format, desk: &Desk<'_>) -> Option<GuestPath> {
    let said = view.text("path");
    match (format, said) {
        (Format::File, None) if view.has("path") => None,
        (Format::File, None) => {
            let note = Note::error(format_said.span, "missing-key", "an output that is a file does not say which");
            desk.say(note.hint("for example: path = \"/root/agent_1.2_amd64.deb\""));
            None
        }
        (Format::File, Some(said)) => GuestPath::new(said.value).ok(),
        (_, Some(said)) => {
            let message = format!("`path` is for an output that is a file, not for {}", format.name());
            desk.say(Note::error(said.span, "contradiction", message).hint("say format = \"file\""));
            None
        }
        (_, None) => None,
    }
}

fn compression(view: View<'_>, format: Format, desk: &Desk<'_>) -> Option<Compression> {
    let said = view.text("compression");
    let (algorithm, levels, usual) = match said.map(|said| said.value) {
        Some("zst") => (Algorithm::Zst, 1..=22, 3),
        Some("xz") => (Algorithm::Xz, 0..=9, 6),
        Some("gz") => (Algorithm::Gz, 1..=9, 6),
        Some("bz2") => (Algorithm::Bz2, 1..=9, 9),
        _ => {
            if let (Some(level), false) = (view.key_span("level"), view.has("compression") && said.is_none()) {
                let note = Note::error(level, "contradiction", "`level` without `compression`");
                desk.say(note.hint("for example: compression = \"zst\""));
            }
            return None;
        }
    };
    if let (Format::Dir, Some(said)) = (format, said) {
        let message = "a folder cannot be packed";
        desk.say(Note::error(said.span, "contradiction", message).hint("say format = \"tar\" for a packed tree"));
    }
    let level = view.integer("level").and_then(|said| Some((u32::try_from(said.value).ok()?, said.span)));
    if let Some((_, span)) = level.filter(|(level, _)| !levels.contains(level)) {
        let message = format!("`{}` has levels from {} to {}", algorithm.ending(), levels.start(), levels.end());
        desk.say(Note::error(span, "bad-value", message));
    }
    Some(Compression { algorithm, level: level.map_or(usual, |(level, _)| level) })
}

fn inner(view: View<'_>, format: Format, desk: &Desk<'_>) -> Option<String> {
    let said = view.text("inner");
    let (words, usual): (&[&str], _) = match format {
        Format::Squashfs => (&SQUASHFS, "zstd"),
        Format::Erofs => (&EROFS, "lz4hc"),
        _ => {
            if let Some(said) = said {
                let message = format!("`inner` is for squashfs and erofs, not for {}", format.name());
                desk.say(
                    Note::error(said.span, "contradiction", message).hint("`compression` packs the whole artifact"),
                );
            }
            return None;
        }
    };
    if let Some(said) = said.filter(|said| !words.contains(&said.value)) {
        let message = format!("{} has no compressor `{}`", format.name(), said.value);
        desk.say(Note::error(said.span, "contradiction", message).hint(format!("possible here: {}", words.join(", "))));
    }
    let word = said.map_or(usual, |said| said.value);
    (word != "none").then(|| word.to_owned())
}
