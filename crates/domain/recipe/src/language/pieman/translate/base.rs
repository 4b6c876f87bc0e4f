//! `[base]`: release, architecture, board, and where packages come from.

use super::Work;
use crate::catalogue::has_keyring;
use crate::desk::Note;
use crate::language::pieman::pair::Word;
use crate::language::pieman::sheets::Refused;
use crate::language::pieman::tree::Tree;
use crate::node::Span;
use crate::spec::Family;

impl Work<'_> {
    pub(super) fn base(&mut self) -> Result<(), Refused> {
        let (os, device) = (self.parameters.span("OS"), self.parameters.span("DEVICE"));
        let release = self.target.release;
        self.tree.set("base.distribution", release.distribution.as_str(), os);
        self.tree.set("base.release", release.release.as_str(), os);
        self.tree.set("base.architecture", self.target.architecture.debian(), os);
        if let Some(board) = self.target.board {
            self.tree.set("base.board", board.name.as_str(), device);
        }
        if !matches!(self.parameters.text("BASE_DIR"), "" | "false") {
            let (folder, span) = (self.parameters.text("BASE_DIR"), self.parameters.span("BASE_DIR"));
            self.tree.set("base.tree", folder, span);
        }
        self.components()?;
        self.keys(os)?;
        self.mirrors()
    }

    fn components(&mut self) -> Result<(), Refused> {
        let span = self.parameters.span("ENABLE_NONFREE");
        let release = self.target.release;
        self.community()?;
        if !self.parameters.is_on("ENABLE_NONFREE") {
            return Ok(());
        }
        let known = |name: &&str| release.known_components.iter().any(|known| known == name);
        let further: Vec<&str> = ["contrib", "non-free"].into_iter().filter(known).collect();
        if further.is_empty() {
            let message = format!("{} has no `non-free`", release.title);
            self.warnings.push(Note::warning(span, "without-effect", message));
            return Ok(());
        }
        let own = release.components.iter().chain(&release.firmware_components).map(String::as_str);
        let mut all: Vec<&str> = Vec::new();
        own.chain(further).for_each(|name| {
            if !all.contains(&name) {
                all.push(name)
            }
        });
        all.into_iter().for_each(|name| self.tree.item("base.components", name, span));
        Ok(())
    }

    /// Alpine's further packages, which Pieman takes unless it is told not to, whatever its documentation says.
    fn community(&mut self) -> Result<(), Refused> {
        let (word, span) = (self.parameters.text("ENABLE_COMMUNITY"), self.parameters.span("ENABLE_COMMUNITY"));
        match word {
            _ if self.target.release.family != Family::Apk => {}
            "" | "true" => {}
            "false" => self.tree.item("base.components", "main", span),
            word => {
                let note = Note::error(span, "parameter", format!("`ENABLE_COMMUNITY` cannot be `{word}`"));
                let note = note.hint("write `ENABLE_COMMUNITY=true` or `ENABLE_COMMUNITY=false`");
                return Err(self.parameters.sheets.refuse("ENABLE_COMMUNITY must be a boolean", note));
            }
        }
        Ok(())
    }

    /// The keys of an archive that kiln does not bring are looked for where Pieman has them.
    fn keys(&mut self, span: Span) -> Result<(), Refused> {
        let archives = self.target.release.repositories_for(self.target.architecture);
        if archives.map(|archive| &archive.keyring).all(|keyring| has_keyring(keyring)) {
            return Ok(());
        }
        let keys = self.surroundings.keys.as_slice();
        if let ([first, _, ..], Family::Apk) = (keys, self.target.release.family) {
            let folder = first.rsplit_once('/').map_or("keys", |(folder, _)| folder);
            let note = Note::error(
                span,
                "parameter",
                format!("`{folder}` holds several files, and apk knows a key by its name"),
            );
            let note = note.hint(format!("leave only the one in `{folder}` that signs the lists of this architecture"));
            return Err(self.parameters.sheets.refuse("cannot read the archive's keys", note));
        }
        key_files(&mut self.tree, "base.key", keys, span);
        Ok(())
    }

    /// The first repository is the mirror; those that the release does not have come beside it.
    fn mirrors(&mut self) -> Result<(), Refused> {
        let Some((first, others)) = self.pair.and_then(|pair| pair.repos.split_first()) else {
            if self.parameters.is_on("ALLOW_UNAUTHENTICATED") {
                let span = self.parameters.span("ALLOW_UNAUTHENTICATED");
                let message = "`ALLOW_UNAUTHENTICATED` loosens nothing: the distribution's own archive is signed";
                self.warnings.push(Note::warning(span, "without-effect", message));
            }
            return Ok(());
        };
        self.tree.set("base.mirror", trimmed(first), first.span);
        let archives: Vec<_> = self.target.release.repositories_for(self.target.architecture).collect();
        let known = |word: &&Word| !archives.iter().flat_map(|archive| &archive.uris).any(|uri| *uri == trimmed(word));
        for (number, word) in others.iter().filter(known).enumerate() {
            let repository = self.repository(number + 2, word);
            self.tree.add("base.repository", repository, word.span);
        }
        Ok(())
    }

    fn repository(&self, number: usize, word: &Word) -> Tree {
        let mut repository = Tree::default();
        repository.set("name", format!("repos-{number}"), word.span);
        repository.set("uri", trimmed(word), word.span);
        if self.parameters.is_on("ALLOW_UNAUTHENTICATED") {
            repository.set("unsigned", true, self.parameters.span("ALLOW_UNAUTHENTICATED"));
        } else {
            key_files(&mut repository, "key", &self.surroundings.keys, word.span);
        }
        repository
    }
}

/// All keys of a distribution are trusted for it.
fn key_files(tree: &mut Tree, key: &str, files: &[String], span: Span) {
    match files {
        [one] => tree.set(key, one.as_str(), span),
        several => several.iter().for_each(|file| tree.item(key, file.as_str(), span)),
    }
}

fn trimmed(word: &Word) -> &str {
    word.text.trim_end_matches('/')
}
