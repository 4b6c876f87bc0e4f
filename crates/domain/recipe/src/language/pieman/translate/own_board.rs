//! What a pair's definition says of the board: all of it where the catalogue does not have it, files for the FAT where it does.

use kiln_model::action::file_name;

use super::Work;
use crate::catalogue::Board;
use crate::catalogue::layout::{self, Partition};
use crate::desk::Note;
use crate::language::pieman::pair::{Pair, PairFiles, Word};
use crate::language::pieman::sheets::Refused;
use crate::language::pieman::tree::Tree;
use crate::node::{Span, Value};

/// Where the boot partition is while the image is made; Pieman's images mount it nowhere.
const BOOT: &str = "/boot/firmware";

impl Work<'_> {
    /// What comes onto the partition that the firmware reads.
    pub(super) fn boot_of(&mut self, pair: &Pair) -> Result<(), Refused> {
        match self.target.board {
            _ if self.parameters.is_on("CREATE_ONLY_CHROOT") => Ok(()),
            Some(board) => {
                self.beside(pair, board);
                Ok(())
            }
            None => self.own_board(pair),
        }
    }

    /// A board of the catalogue brings firmware, kernel and what names them; files of one's own come beside those.
    fn beside(&mut self, pair: &Pair, board: &Board) {
        let layout = layout::find(board.layout_in(self.target.release, self.parameters.is_on("ENABLE_MENDER")));
        let parts = layout.into_iter().flat_map(|layout| &layout.partitions).map(Partition::spec);
        let fat =
            parts.filter(|part| part.role == "firmware").find_map(|part| part.mount).map(|mount| mount.to_string());
        let beside = |text: &str| !is_address(text) && !text.starts_with('/') && !CHOICES.contains(&text);
        let own = |word: &&Word| fat.is_some() && beside(&word.text);
        let (own, others): (Vec<_>, Vec<_>) = pair.boot.iter().partition(own);
        own.into_iter().for_each(|word| self.local_file(fat.as_deref().unwrap_or(BOOT), word));
        let mut idle = |word: &Word, what: &str, brings: &str, hint: &str| {
            let message = format!("{what} no effect: board `{}` of kiln brings {brings}", board.name);
            self.warnings.push(Note::warning(word.span, "without-effect", message).hint(hint.to_owned()));
        };
        if let Some(first) = others.first() {
            let hint = "lines for `config.txt` and words for the kernel: `--set boot.config-txt=…`, `--set boot.kernel-arguments=…`";
            match others.len() {
                1 => idle(first, "this entry of `boot` has", "its own", hint),
                count => idle(first, &format!("{count} entries of `boot`, from here on, have"), "its own", hint),
            }
        }
        let hint = "further packages are named in `includes`";
        let own = board.kernel_in(self.target.release, self.target.architecture);
        if own.as_deref() != Some(pair.kernel.text.as_str()) {
            idle(&pair.kernel, "`kernel.package` has", "its kernel", hint);
        }
        if let Some(blob) = &pair.spl_bin {
            idle(blob, "`spl_bin` has", "U-Boot", "a board with another U-Boot is a file in data/boards");
        }
    }

    /// An MBR with 100 MiB of FAT and the root. kiln aligns to 1 MiB, and so small a FAT has 16 bits.
    fn own_board(&mut self, pair: &Pair) -> Result<(), Refused> {
        self.kernel(pair);
        for word in &pair.boot {
            self.boot_file(word)?;
        }
        self.disk(pair);
        if let Some(blob) = &pair.spl_bin {
            self.first_program(blob);
        }
        Ok(())
    }

    /// A file of the building machine that a board's ROM starts.
    fn first_program(&mut self, blob: &Word) {
        let (text, span) = (&blob.text, blob.span);
        let name = text.rsplit('/').next().unwrap_or(text);
        let path = format!("/usr/lib/u-boot/{name}");
        let (mut file, mut entry) = (Tree::default(), Tree::default());
        file.set("path", path.as_str(), span);
        file.set("source", text.as_str(), self.source_span(text, span));
        self.tree.add("file", file, span);
        entry.set("path", path, span);
        entry.set("offset", SPL, span);
        self.tree.add("disk.blob", entry, span);
    }

    /// Without a board nobody else asks for a kernel and what starts after it.
    fn kernel(&mut self, pair: &Pair) {
        let span = pair.kernel.span;
        self.tree.item("packages.include", pair.kernel.text.as_str(), span);
        let needed = ["init", "initrd", "filesystem-check"].map(|feature| self.target.release.feature(feature));
        for name in needed.into_iter().flatten().flatten() {
            self.tree.item("packages.include", name.as_str(), span);
        }
    }

    fn boot_file(&mut self, word: &Word) -> Result<(), Refused> {
        let text = word.text.as_str();
        if text.starts_with("ftp://") {
            let note = Note::error(word.span, "not-in-kiln", "kiln downloads by HTTP alone")
                .hint("name it by `https://`, or put it beside `pieman.yml` and name it here by its name");
            let file = format!("{}/pieman.yml", self.folder());
            return Err(self.parameters.sheets.refuse(format!("{file}: cannot use boot: {text}"), note));
        }
        if is_address(text) {
            let mut entry = Tree::default();
            entry.set("path", format!("{BOOT}/{}", file_name(text)), word.span);
            entry.set("url", text, word.span);
            self.tree.add("file", entry, word.span);
        } else if text.starts_with('/') {
            let mut entry = Tree::default();
            entry.set("after", "kernel", word.span);
            entry.set("name", format!("boot: {text}"), word.span);
            entry.set("text", copies(text), word.span);
            self.tree.add("script", entry, word.span);
        } else {
            self.local_file(BOOT, word);
        }
        Ok(())
    }

    /// A file beside the definition.
    fn local_file(&mut self, fat: &str, word: &Word) {
        let (text, folder, mut entry) = (&word.text, self.folder(), Tree::default());
        let source = format!("{folder}/{text}");
        entry.set("path", format!("{fat}/{text}"), word.span);
        let span = self.source_span(&source, word.span);
        entry.set("source", source, span);
        self.tree.add("file", entry, word.span);
    }

    fn disk(&mut self, pair: &Pair) {
        let span = pair.kernel.span;
        let size = self.parameters.text("IMAGE_ROOTFS_SIZE").trim_start_matches('0');
        let mut free = Tree::default();
        free.set("free", "256MiB", span);
        let root = if size.is_empty() { Value::Table(free.0) } else { format!("{size}MiB").into() };
        let at = if size.is_empty() { span } else { self.parameters.span("IMAGE_ROOTFS_SIZE") };
        self.tree.set("disk.table", "mbr", span);
        for (name, role, mount, filesystem, size) in
            [("boot", "firmware", BOOT, "fat", "100MiB".into()), ("root", "root", "/", "ext4", root)]
        {
            let mut part = Tree::default();
            let words = [("name", name), ("role", role), ("mount", mount), ("filesystem", filesystem)];
            words.into_iter().for_each(|(key, word)| part.set(key, word, span));
            part.set("size", size, at);
            self.tree.add("disk.partition", part, span);
        }
    }

    fn folder(&self) -> String {
        self.surroundings.pair.as_ref().map_or("", PairFiles::folder).to_owned()
    }

    /// Where a path of the building machine is said to stand: it is from the working directory, and so its place must be a text that
    /// lies there; an absolute one can stand where it was written.
    fn source_span(&self, path: &str, written: Span) -> Span {
        if path.starts_with('/') { written } else { self.parameters.span("OS") }
    }
}

/// The byte of the disk where Pieman puts a board's first program.
const SPL: i64 = 8192;

/// What the board's own packages write.
const CHOICES: [&str; 2] = ["config.txt", "cmdline.txt"];

fn is_address(text: &str) -> bool {
    ["http://", "https://", "ftp://"].iter().any(|scheme| text.starts_with(scheme))
}

/// Copies what a pattern names; several fit under a new name only if the last one is meant, which is the newest kernel's.
fn copies(entry: &str) -> String {
    let copy = match entry.rsplit_once(':') {
        Some((from, to)) => {
            format!("last=$(printf '%s\\n' {from} | sort -V | tail -n 1)\ncp -rL \"$last\" {BOOT}/{to}\n")
        }
        None => format!("cp -rL {entry} {BOOT}/\n"),
    };
    format!("mkdir -p {BOOT}\n{copy}")
}
