//! Artifacts: a finished tree becomes a file in the output folder, at once or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use kiln_disk::bmap::Blocks;
use kiln_disk::layout::Premade;
use kiln_disk::mender::Label;
use kiln_model::action::{Compression, DiskContainer, DiskLayout, FilesystemKind, ImageAction};
use kiln_model::fault::OrFault as _;
use kiln_model::plan::Pipeline;
use kiln_model::{
    Action, Artifact, EventKind, Extents, Fault, FaultKind, GuestPath, StageKind, StageOutcome, Tree, Unit,
};
use kiln_plan::companions::Whole;
use kiln_sandbox::Scratch;
use kiln_store::{Doc, Layer};

use super::Run;
use crate::image::{self, Compressor, Hashing, Index, Previous, Undo, Written};

/// An artifact that is written but not in its place yet.
pub(crate) struct Made {
    pub artifact: Artifact,
    /// Where it waits, in the output folder.
    pub partial: PathBuf,
    /// The text of its block map, for raw disks.
    pub bmap: Option<String>,
    /// Of a disk that is compressed and that a board's own tool unpacks: what comes out.
    pub whole: Option<Whole>,
    /// What the next image of this name starts from.
    index: Option<Index>,
    /// What gives back the image that this one took over.
    undo: Option<Undo>,
}

impl Made {
    fn new(artifact: Artifact, partial: PathBuf) -> Self {
        Self { artifact, partial, bmap: None, whole: None, index: None, undo: None }
    }

    /// Puts the artifact in its place in the output folder.
    pub fn place(mut self, run: &Run<'_>) -> Result<(), Fault> {
        let (name, to) = (&self.artifact.name, run.options.out.join(&self.artifact.name));
        if to.is_dir() || self.partial.is_dir() {
            remove(&to);
        }
        let doing = || format!("put `{}` in place", to.display());
        fs::rename(&self.partial, &to).farm(doing)?;
        self.undo = None;
        if let Some(mut index) = self.index.take() {
            index.renamed(&File::open(&to).farm(doing)?).farm(doing)?;
            run.kiln.store.put_document(Doc::Image, &run.key(name), &index.to_bytes())?;
        }
        Ok(())
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if self.undo.take().is_none_or(|undo| undo.roll_back(&self.partial).is_err()) {
            remove(&self.partial);
        }
    }
}

impl Run<'_> {
    /// Writes the artifact of an output's pipeline beside its place.
    pub fn image(&self, pipeline: &Pipeline, tree: &Tree, layers: &[Layer]) -> Result<Made, Fault> {
        let stage = &pipeline.stages[0];
        let id = self.plan.ids(pipeline)[0];
        let began = Instant::now();
        self.enter_stage(stage.kind);
        self.events.tell(EventKind::StageStarted { stage: stage.kind, id });
        let Some(Action::Image(action)) = stage.actions.first() else {
            return Err(Fault::farm(format!("stage `{}` of `{}` makes no image", stage.kind, pipeline.name)));
        };
        let made = self.write(&pipeline.name, action, tree, layers)?;
        let millis = began.elapsed().as_millis() as u64;
        let partitioned = matches!(action, ImageAction::Disk { .. } | ImageAction::Mender { .. });
        self.events.tell(EventKind::StageFinished { stage: stage.kind, id, millis, code: stage.kind.code() });
        if partitioned {
            let stage = StageKind::Partitions;
            self.events.tell(EventKind::StageFinished { stage, id, millis: 0, code: stage.code() });
        }
        self.note(StageOutcome { pipeline: pipeline.name.clone(), stage: stage.kind, id, cached: false, millis });
        Ok(made)
    }

    fn write(&self, name: &str, action: &ImageAction, tree: &Tree, layers: &[Layer]) -> Result<Made, Fault> {
        match action {
            ImageAction::Dir => self.folder(name, tree),
            ImageAction::File { path, compression } => {
                self.extents(name, "file", &kiln_disk::file::layout(tree, path)?, *compression)
            }
            ImageAction::Tar { compression } => {
                let extents = kiln_disk::tar::layout(tree)?;
                self.extents(name, "tar", &extents, *compression)
            }
            ImageAction::Squashfs { inner, compression } => {
                let (_scratch, image) =
                    self.tool_image("squashfs", self.squashfs_words("/target", inner, &[]), layers)?;
                self.file(name, "squashfs", &image, *compression)
            }
            ImageAction::Erofs { inner, compression } => {
                let words = self.erofs_words("/target", inner.as_deref(), self.uuid_of(name), &[]);
                let (_scratch, image) = self.tool_image("erofs", words, layers)?;
                self.file(name, "erofs", &image, *compression)
            }
            ImageAction::Mender { disk, partition, artifact_name, device_type, compression } => {
                let label = Label { name: artifact_name, device_type };
                let root = kiln_disk::partition(tree, disk, self.plan.epoch, partition)?;
                self.artifact(name, &label, root, *compression)
            }
            ImageAction::Disk { container, disk, compression } => {
                self.disk(name, *container, disk, *compression, tree, layers)
            }
        }
    }

    /// An id that the plan decides.
    fn uuid_of(&self, name: &str) -> uuid::Uuid {
        uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, format!("{} {name}", self.plan.lock).as_bytes())
    }

    fn disk(
        &self,
        name: &str,
        container: DiskContainer,
        layout: &DiskLayout,
        compression: Option<Compression>,
        tree: &Tree,
        layers: &[Layer],
    ) -> Result<Made, Fault> {
        // What tools made must stay until it is copied into the image.
        let (mut premade, _kept) = self.premade(layout, layers)?;
        premade.bios = layout.bios.as_ref().map(|bios| self.grub(bios)).transpose()?;
        let sums = super::sums::of(tree, layout, self.kiln.config.jobs)?;
        let disk = kiln_disk::disk_with_sums(tree, layout, self.plan.epoch, &premade, &sums)?;
        match container {
            DiskContainer::Raw => self.extents(name, "raw", &disk.extents, compression),
            DiskContainer::Qcow2 => self.extents(name, "qcow2", &kiln_disk::qcow2::layout(&disk.extents), compression),
        }
    }

    /// Makes the read-only filesystems of a disk, which only their own tools write.
    fn premade(&self, layout: &DiskLayout, layers: &[Layer]) -> Result<(Premade, Vec<Scratch>), Fault> {
        let (mut premade, mut kept) = (Premade::new(), vec![]);
        for partition in &layout.partitions {
            let Some(mount) = &partition.mount else { continue };
            let others = layout.partitions.iter().filter_map(|other| other.mount.as_ref());
            let inner: Vec<String> = others
                .filter(|other| *other != mount && other.is_under(mount))
                .map(|other| below(mount, other))
                .collect();
            let from = format!("/target{mount}");
            let words = match partition.filesystem.kind {
                FilesystemKind::Ext4
                | FilesystemKind::Btrfs
                | FilesystemKind::Fat
                | FilesystemKind::Swap
                | FilesystemKind::Blank => continue,
                FilesystemKind::Squashfs => self.squashfs_words(&from, "zstd", &inner),
                FilesystemKind::Erofs => self.erofs_words(&from, Some("lz4hc"), partition.filesystem.uuid, &inner),
            };
            let (scratch, image) = self.tool_image(&partition.name, words, layers)?;
            let size = fs::metadata(&image).farm(|| format!("read partition `{}`", partition.name))?.len();
            premade.insert(partition.name.clone(), (image, size));
            kept.push(scratch);
        }
        Ok((premade, kept))
    }

    fn squashfs_words(&self, from: &str, compression: &str, without: &[String]) -> Vec<String> {
        // Times come from SOURCE_DATE_EPOCH, which mksquashfs takes only without options that say the same.
        let jobs = self.kiln.config.jobs.to_string();
        let words = ["mksquashfs", from, IMAGE, "-noappend", "-no-progress", "-quiet", "-comp", compression];
        let words = words.into_iter().chain(["-processors", &jobs, "-xattrs"]).map(str::to_owned);
        // Mount points stay as empty folders.
        let excluded = without.iter().flat_map(|path| ["-wildcards".to_owned(), "-e".to_owned(), format!("{path}/*")]);
        words.chain(excluded).collect()
    }

    fn erofs_words(&self, from: &str, compression: Option<&str>, uuid: uuid::Uuid, without: &[String]) -> Vec<String> {
        let mut words =
            vec!["mkfs.erofs".to_owned(), "--quiet".into(), format!("-T{}", self.plan.epoch), format!("-U{uuid}")];
        words.extend(compression.map(|compressor| format!("-z{compressor}")));
        words.extend(without.iter().map(|path| format!("--exclude-regex=^{path}/.+")));
        words.extend([IMAGE, from].map(str::to_owned));
        words
    }

    /// Writes extents as a file, patching the one an earlier build left where that is still as it was written.
    pub(super) fn extents(
        &self,
        name: &str,
        format: &str,
        extents: &Extents,
        compression: Option<Compression>,
    ) -> Result<Made, Fault> {
        let partial = self.partial(name);
        match compression {
            Some(compression) => self.compressed(name, format, extents, compression, partial),
            None => {
                let map = block_map(format, extents);
                let written = self.plain(name, extents, &map, &partial)?;
                let bmap = (!map.is_empty()).then(|| kiln_disk::bmap::render(written.size, &written.ranges));
                let (size, sha256) = (written.size, written.sha256);
                let artifact = Artifact { name: name.to_owned(), format: format.to_owned(), size, sha256 };
                Ok(Made { artifact, partial, bmap, whole: None, index: Some(written.index), undo: written.undo })
            }
        }
    }

    fn plain(&self, name: &str, extents: &Extents, map: &[Blocks], partial: &Path) -> Result<Written, Fault> {
        let place = self.options.out.join(name);
        let index = self.kiln.store.document(Doc::Image, &self.key(name))?;
        let index = index.and_then(|bytes| Index::from_bytes(&bytes).ok()).filter(|_| !self.options.force);
        let previous = index.as_ref().map(|index| Previous { image: &place, index, take: true });
        let written = image::write_file(extents, map, partial, previous.as_ref(), &self.counter(name, extents.size));
        written.farm(|| format!("write `{}`", partial.display()))
    }

    /// What is known of a written image, by where it lies.
    fn key(&self, name: &str) -> String {
        let out = std::path::absolute(&self.options.out).unwrap_or_else(|_| self.options.out.clone());
        out.join(name).display().to_string()
    }

    fn compressed(
        &self,
        name: &str,
        format: &str,
        extents: &Extents,
        compression: Compression,
        partial: PathBuf,
    ) -> Result<Made, Fault> {
        let (map, mut ranges, mut whole) = (block_map(format, extents), vec![], None);
        let board = self.loaded.completed.spec.base.board.as_ref();
        let asked = format == "raw" && board.is_some_and(|board| board.imager.is_some());
        let mut made = self.pressed(name, format, compression, partial, &mut |out| {
            let counter = self.counter(name, extents.size);
            if asked {
                let mut hashing = Hashing::new(out);
                ranges = image::write_stream(extents, &map, &mut hashing, &counter)?;
                let (_, size, sha256) = hashing.finish();
                whole = Some(Whole { size, sha256 });
            } else {
                ranges = image::write_stream(extents, &map, out, &counter)?;
            }
            Ok(())
        })?;
        made.whole = whole;
        made.bmap = (!map.is_empty()).then(|| kiln_disk::bmap::render(extents.size, &ranges));
        Ok(made)
    }

    /// Copies a file that a tool made.
    fn file(&self, name: &str, format: &str, image: &Path, compression: Option<Compression>) -> Result<Made, Fault> {
        let mut from = File::open(image).farm(|| format!("read `{}`", image.display()))?;
        let partial = self.partial(name);
        if let Some(compression) = compression {
            return self.pressed(name, format, compression, partial, &mut |out| io::copy(&mut from, out).map(drop));
        }
        let doing = || format!("write `{}`", partial.display());
        let mut hashing = Hashing::new(File::create(&partial).farm(doing)?);
        io::copy(&mut from, &mut hashing).inspect_err(|_| remove(&partial)).farm(doing)?;
        let (_, size, sha256) = hashing.finish();
        let artifact = Artifact { name: name.to_owned(), format: format.to_owned(), size, sha256 };
        Ok(Made::new(artifact, partial))
    }

    /// Compresses what `write` gives.
    fn pressed(
        &self,
        name: &str,
        format: &str,
        compression: Compression,
        partial: PathBuf,
        write: &mut dyn FnMut(&mut dyn io::Write) -> io::Result<()>,
    ) -> Result<Made, Fault> {
        let doing = || format!("write `{}`", partial.display());
        let file = BufWriter::with_capacity(1 << 20, File::create(&partial).farm(doing)?);
        let mut compressor = Compressor::new(Hashing::new(file), compression, self.kiln.config.jobs).farm(doing)?;
        let written = write(&mut compressor);
        let hashing = written.and_then(|()| compressor.finish()).inspect_err(|_| remove(&partial)).farm(doing)?;
        let (mut file, size, sha256) = hashing.finish();
        file.flush().farm(doing)?;
        let artifact = Artifact { name: name.to_owned(), format: format.to_owned(), size, sha256 };
        Ok(Made::new(artifact, partial))
    }

    /// Lets a tool of the tools tree make [`IMAGE`] from the tree at `/target`; returns where it lies and what keeps it.
    fn tool_image(&self, source: &str, argv: Vec<String>, layers: &[Layer]) -> Result<(Scratch, PathBuf), Fault> {
        let shown = self.show(layers)?;
        let scratch = Scratch::new(&self.scratch_root(), "image")?;
        let plain = |path| GuestPath::new(path).expect("a plain path");
        let command = self
            .tool(argv)?
            .bind(shown.overlay.target(), plain("/target"), true)
            .bind(scratch.path(), plain("/out"), false)
            .env("SOURCE_DATE_EPOCH", self.plan.epoch.to_string());
        self.command(StageKind::Image, source, command)?;
        let image = scratch.path().join("image");
        Ok((scratch, image))
    }

    fn folder(&self, name: &str, tree: &Tree) -> Result<Made, Fault> {
        let partial = self.partial(name);
        remove(&partial);
        let (size, sha256) = super::folder::write(tree, &partial)
            .inspect_err(|_| remove(&partial))
            .fault(FaultKind::Farm, || format!("write `{}`", partial.display()))?;
        let artifact = Artifact { name: name.to_owned(), format: "dir".into(), size, sha256 };
        Ok(Made::new(artifact, partial))
    }

    /// Where an artifact is written before it takes its place.
    fn partial(&self, name: &str) -> PathBuf {
        self.options.out.join(format!(".{name}.partial"))
    }

    pub(super) fn counter(&self, name: &str, total: u64) -> impl Fn(u64) + use<'_> {
        let (done, name) = (std::cell::Cell::new(0), name.to_owned());
        move |more| {
            done.set(done.get() + more);
            self.events.progress(Some(StageKind::Image), &name, Unit::Bytes, done.get(), Some(total));
        }
    }
}

/// Returns what the block map of a raw disk lists; other images have none.
fn block_map(format: &str, extents: &Extents) -> Vec<Blocks> {
    if format == "raw" { kiln_disk::bmap::blocks(extents) } else { vec![] }
}

/// Where tools write.
const IMAGE: &str = "/out/image";

/// Returns `inner` relative to `outer`, without a slash in front.
fn below(outer: &GuestPath, inner: &GuestPath) -> String {
    let inner = inner.to_string();
    inner.strip_prefix(&outer.to_string()).unwrap_or(&inner).trim_start_matches('/').to_owned()
}

/// Removes a file or folder; one that is not there is fine.
pub(crate) fn remove(path: &Path) {
    if path.is_dir() && !path.is_symlink() {
        let _ = fs::remove_dir_all(path);
    } else {
        let _ = fs::remove_file(path);
    }
}
