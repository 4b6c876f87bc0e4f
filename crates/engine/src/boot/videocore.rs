//! What a Raspberry Pi's own firmware does between power and kernel: QEMU has none of it, so the image's FAT is read here.
//!
//! Source: Raspberry Pi's documentation of `config.txt`, conditional filters and boot options. Overlays are not applied.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use kiln_model::Fault;
use kiln_model::fault::OrFault as _;
use kiln_recipe::spec::Qemu;

use super::disk::Disk;
use super::qemu::SCRATCH;
use crate::diff::block::{self, Bytes, Window};
use crate::diff::{fat, table};

/// What QEMU is handed in place of a firmware. Paths are those QEMU sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    pub image: String,
    pub initrd: Option<String>,
    pub device_tree: String,
    pub cmdline: String,
}

/// By QEMU machine: the conditional filter of `config.txt` that holds, and the kernel for 32 bits that is looked for.
const MODELS: &[(&str, &str, &str)] = &[
    ("raspi0", "pi0", "kernel.img"),
    ("raspi1ap", "pi1", "kernel.img"),
    ("raspi2b", "pi2", "kernel7.img"),
    ("raspi3ap", "pi3", "kernel7.img"),
    ("raspi3b", "pi3", "kernel7.img"),
    ("raspi4b", "pi4", "kernel7l.img"),
];

/// Copies what the firmware would load out of the first FAT into `scratch`; none for boards that start otherwise.
pub fn kernel(disk: &Disk, board: &Qemu, scratch: &Path) -> Result<Option<Kernel>, Fault> {
    if board.firmware != "raspberry-pi" {
        return Ok(None);
    }
    let model = MODELS.iter().find(|(machine, ..)| *machine == board.machine);
    let (_, filter, kernel32) = model.ok_or_else(|| {
        Fault::farm(format!("kiln does not know what a Raspberry Pi's firmware does on QEMU's `{}`", board.machine))
    })?;
    let card = Card::open(disk).fault_of(disk)?;
    let text = card.text("config.txt")?.unwrap_or_default();
    let config = Config::parse(&text, filter, &mut |file| card.text(file))?;
    let names = config.names(kernel32, &board.device_trees, &|file| card.has(file));
    let cmdline = card.text(&names.cmdline)?.unwrap_or_default();
    Ok(Some(Kernel {
        image: card.copy(&names.kernel, scratch, "kernel")?,
        initrd: names.initrd.map(|name| card.copy(&name, scratch, "initrd")).transpose()?,
        device_tree: card.copy(&names.device_tree, scratch, "board.dtb")?,
        cmdline: cmdline.trim().replace("console=serial0", &format!("console={}", board.console)),
    }))
}

/// What `config.txt` says to this model.
#[derive(Debug, Default, PartialEq, Eq)]
struct Config {
    settings: BTreeMap<String, String>,
    /// `initramfs NAME ADDRESS`: the one line without an equals sign.
    initramfs: Option<String>,
}

/// Names on the FAT.
#[derive(Debug, PartialEq, Eq)]
struct Names {
    kernel: String,
    initrd: Option<String>,
    device_tree: String,
    cmdline: String,
}

/// Files may include each other this deep.
const DEPTH: u32 = 8;

impl Config {
    fn parse(
        text: &str,
        filter: &str,
        included: &mut dyn FnMut(&str) -> Result<Option<String>, Fault>,
    ) -> Result<Self, Fault> {
        let mut config = Self::default();
        config.add(text, filter, included, DEPTH)?;
        Ok(config)
    }

    fn add(
        &mut self,
        text: &str,
        filter: &str,
        included: &mut dyn FnMut(&str) -> Result<Option<String>, Fault>,
        depth: u32,
    ) -> Result<(), Fault> {
        let mut holds = true;
        for line in text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
            if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                holds = ["all", filter].contains(&section);
                continue;
            }
            let (word, rest) = line.split_once([' ', '=']).unwrap_or((line, ""));
            match (holds, word) {
                (false, _) | (_, "") => {}
                (_, "include") if depth > 0 => {
                    if let Some(text) = included(rest.trim())? {
                        self.add(&text, filter, included, depth - 1)?;
                    }
                }
                (_, "initramfs") => self.initramfs = rest.split_whitespace().next().map(str::to_owned),
                _ => drop(self.settings.insert(word.to_owned(), rest.trim().to_owned())),
            }
        }
        Ok(())
    }

    fn says(&self, key: &str) -> Option<&str> {
        self.settings.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Returns what is loaded, where `has` tells which files are there.
    fn names(&self, kernel32: &str, trees: &[String], has: &dyn Fn(&str) -> bool) -> Names {
        let prefix = self.says("os_prefix").unwrap_or_default();
        let bits64 = self.says("arm_64bit").map_or_else(|| has("kernel8.img"), |value| value != "0");
        let kernel = self.says("kernel").unwrap_or(if bits64 { "kernel8.img" } else { kernel32 });
        // `kernel8.img` goes with `initramfs8`.
        let beside = kernel.strip_prefix("kernel").map(|rest| format!("initramfs{}", rest.trim_end_matches(".img")));
        let beside = beside.filter(|name| self.says("auto_initramfs") == Some("1") && has(&format!("{prefix}{name}")));
        let found = |name: &&String| has(&format!("{prefix}{name}"));
        let device_tree = self.says("device_tree").map(str::to_owned);
        let device_tree = device_tree.or_else(|| trees.iter().find(found).or(trees.first()).cloned());
        let at = |name: String| format!("{prefix}{name}");
        Names {
            kernel: at(kernel.to_owned()),
            initrd: self.initramfs.clone().or(beside).map(at),
            device_tree: at(device_tree.unwrap_or_default()),
            cmdline: at(self.says("cmdline").unwrap_or("cmdline.txt").to_owned()),
        }
    }
}

/// The memory card's first FAT.
struct Card(fat::Volume);

impl Card {
    fn open(disk: &Disk) -> io::Result<Option<Self>> {
        let bytes: Arc<dyn Bytes> = block::open(&disk.path).map_err(|fault| io::Error::other(fault.chain()))?.into();
        let partitions = table::read(&*bytes)?;
        let windows = partitions.iter().map(|part| Arc::new(Window::new(bytes.clone(), part.offset, part.size)));
        let fat = windows.map(|window| window as Arc<dyn Bytes>).find(|window| fat::identity(window.clone()).is_some());
        fat.map(|window| fat::open(window).map(Self)).transpose()
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.0.root_dir().open_file(name)?.read_to_end(&mut bytes).map(|_| bytes)
    }

    fn has(&self, name: &str) -> bool {
        self.0.root_dir().open_file(name).is_ok()
    }

    fn text(&self, name: &str) -> Result<Option<String>, Fault> {
        if !self.has(name) {
            return Ok(None);
        }
        let bytes = self.read(name).farm(|| format!("read `{name}` of the image's FAT"))?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Copies a file into the scratch folder; returns where QEMU sees it.
    fn copy(&self, name: &str, scratch: &Path, into: &str) -> Result<String, Fault> {
        if !self.has(name) {
            let fault = Fault::recipe(format!("the firmware finds no `{name}` on the image's FAT"));
            return Err(fault.hint("`config.txt` there says what is loaded"));
        }
        let bytes = self.read(name).farm(|| format!("read `{name}` of the image's FAT"))?;
        fs::write(scratch.join(into), bytes).farm(|| format!("copy `{name}` of the image's FAT"))?;
        Ok(format!("{SCRATCH}/{into}"))
    }
}

/// Names the disk where no card could be read.
trait OrNoCard {
    fn fault_of(self, disk: &Disk) -> Result<Card, Fault>;
}

impl OrNoCard for io::Result<Option<Card>> {
    fn fault_of(self, disk: &Disk) -> Result<Card, Fault> {
        let card = self.farm(|| format!("read the FAT of `{}`", disk.path.display()))?;
        card.ok_or_else(|| Fault::recipe("the image has no FAT partition for a Raspberry Pi's firmware"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str, there: &[&str]) -> Names {
        let mut included = |file: &str| Ok((file == "more.txt").then(|| "kernel=more.img\n".to_owned()));
        let config = Config::parse(text, "pi3", &mut included).unwrap();
        let trees = ["new.dtb".to_owned(), "old.dtb".to_owned()];
        config.names("kernel7.img", &trees, &|file| there.contains(&file))
    }

    #[test]
    fn config_txt_says_what_is_loaded() {
        let cases: &[(&str, &[&str], [&str; 4])] = &[
            ("", &[], ["kernel7.img", "", "new.dtb", "cmdline.txt"]),
            ("", &["kernel8.img", "old.dtb"], ["kernel8.img", "", "old.dtb", "cmdline.txt"]),
            (
                "arm_64bit=1\nkernel=vmlinuz-6 # newest\ninitramfs initrd.img-6\n",
                &["new.dtb"],
                ["vmlinuz-6", "initrd.img-6", "new.dtb", "cmdline.txt"],
            ),
            (
                "auto_initramfs=1\narm_64bit=1\n",
                &["initramfs8"],
                ["kernel8.img", "initramfs8", "new.dtb", "cmdline.txt"],
            ),
            (
                "[pi4]\nkernel=four\n[pi3]\nkernel=three\n[all]\ncmdline=mine.txt\ndevice_tree=own.dtb\n",
                &[],
                ["three", "", "own.dtb", "mine.txt"],
            ),
            ("[none]\nkernel=x\n[all]\ninclude more.txt\n", &[], ["more.img", "", "new.dtb", "cmdline.txt"]),
            (
                "os_prefix=a/\ninitramfs i followkernel\n",
                &["a/old.dtb"],
                ["a/kernel7.img", "a/i", "a/old.dtb", "a/cmdline.txt"],
            ),
        ];
        for (text, there, [kernel, initrd, device_tree, cmdline]) in cases {
            let text_of = |text: &str| text.to_owned();
            let wanted = Names {
                kernel: text_of(kernel),
                initrd: Some(text_of(initrd)).filter(|name| !name.is_empty()),
                device_tree: text_of(device_tree),
                cmdline: text_of(cmdline),
            };
            assert_eq!(names(text, there), wanted, "{text}");
        }
    }
}
