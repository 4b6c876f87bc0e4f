//! A board that the catalogue does not have: kernel, boot files and disk as the pair's definition says.

use super::Work;
use crate::desk::Note;
use crate::language::pieman::pair::{Pair, Word};
use crate::language::pieman::sheets::Refused;
use crate::language::pieman::tree::Tree;
use crate::node::Value;

/// Where the boot partition is while the image is made; Pieman's images mount it nowhere.
const BOOT: &str = "/boot/firmware";

impl Work<'_> {
    /// Pieman's own geometry: an MBR with 100 MiB of FAT and the root.
    pub(super) fn own_board(&mut self) -> Result<(), Refused> {
        let Some(pair) = self.pair else { return Ok(()) };
        if let Some(blob) = &pair.spl_bin {
            let message = "only boards of the catalogue have a first program at a byte of the disk";
            let hint = "a file in data/boards says it: `[[blobs]]` with `path` and `offset = 8192`";
            return Err(self.not_yet("spl_bin", blob, message, hint));
        }
        self.kernel(pair);
        for word in &pair.boot {
            self.boot_file(word)?;
        }
        self.disk(pair);
        Ok(())
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
        if ["http://", "https://", "ftp://"].iter().any(|scheme| text.starts_with(scheme)) {
            let message = "a build downloads nothing that is not pinned";
            let hint = "put the file beside `pieman.yml` and name it here, or install the package that has it (`raspi-firmware`)";
            return Err(self.not_yet("boot", word, message, hint));
        }
        let mut entry = Tree::default();
        if text.starts_with('/') {
            entry.set("after", "kernel", word.span);
            entry.set("name", format!("boot: {text}"), word.span);
            entry.set("text", copies(text), word.span);
            self.tree.add("script", entry, word.span);
        } else {
            let folder = self.folder();
            // The path is from the working directory, and so its place must be a text that lies there.
            let span = self.parameters.span("OS");
            entry.set("path", format!("{BOOT}/{text}"), word.span);
            entry.set("source", format!("{folder}/{text}"), span);
            self.tree.add("file", entry, word.span);
        }
        Ok(())
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
        let path = self.surroundings.pair.as_ref().map_or("", |files| files.path.as_str());
        path.rsplit_once('/').map_or_else(String::new, |(folder, _)| folder.to_owned())
    }

    fn not_yet(&self, key: &str, word: &Word, message: &str, hint: &str) -> Refused {
        let note = Note::error(word.span, "not-in-kiln", message).hint(hint);
        let file = format!("{}/pieman.yml", self.folder());
        self.parameters.sheets.refuse(format!("{file}: cannot use {key}: {}", word.text), note)
    }
}

/// Copies what a pattern names; several fit under a new name only if the last one is meant, which is the newest kernel's.
fn copies(entry: &str) -> String {
    let copy = match entry.rsplit_once(':') {
        Some((from, to)) => format!("last=\nfor file in {from}; do last=$file; done\ncp -rL \"$last\" {BOOT}/{to}\n"),
        None => format!("cp -rL {entry} {BOOT}/\n"),
    };
    format!("mkdir -p {BOOT}\n{copy}")
}
