//! What `control.tar` holds: the control stanza, maintainer scripts, and the lists dpkg keeps in its database.

use std::collections::BTreeMap;

use kiln_model::GuestPath;

use super::BadPackage;
use crate::deb::deb822;

/// The control data of one package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    pub stanza: Stanza,
    /// Every file of `control.tar` but `control`, by name.
    pub files: BTreeMap<String, ControlFile>,
}

/// One file of `control.tar`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlFile {
    pub mode: u32,
    /// Modification time in seconds since 1970.
    pub mtime: i64,
    pub bytes: Vec<u8>,
}

/// A stanza that owns its text: fields in order, values with their line breaks, without the blank after the colon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stanza(pub Vec<(String, String)>);

/// A line of the control file `triggers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    pub interest: Interest,
    /// Whether who activates it waits until it was processed.
    pub waits: bool,
    /// A path, or a name agreed on.
    pub name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    Interested,
    Activates,
}

impl Stanza {
    /// Returns a field's value; names compare without case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

impl From<&deb822::Paragraph<'_>> for Stanza {
    fn from(paragraph: &deb822::Paragraph<'_>) -> Self {
        let owned = |field: &deb822::Field<'_>| {
            (field.name.to_owned(), field.value.trim_end().trim_start_matches([' ', '\t']).to_owned())
        };
        Self(paragraph.fields.iter().map(owned).collect())
    }
}

impl Control {
    /// Builds from the text of `control` and the other files, and checks what file names will be made from.
    pub fn new(control: &[u8], files: BTreeMap<String, ControlFile>) -> Result<Self, BadPackage> {
        let text = deb822::text(control)?;
        let stanza = Stanza::from(&deb822::parse_one(text)?);
        let this = Self { stanza, files };
        this.checked("Package", |c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c))?;
        this.checked("Architecture", |c| c.is_ascii_alphanumeric() || c == '-')?;
        this.checked("Version", |c| c.is_ascii_alphanumeric() || ".+~:-".contains(c))?;
        this.conffiles()?;
        this.triggers()?;
        Ok(this)
    }

    fn checked(&self, field: &'static str, allowed: impl Fn(char) -> bool) -> Result<(), BadPackage> {
        let value = self.stanza.get(field).ok_or(BadPackage::FieldMissing(field))?;
        if value.starts_with(|c: char| c.is_ascii_alphanumeric()) && value.chars().all(allowed) {
            return Ok(());
        }
        Err(BadPackage::Field { field, value: value.to_owned() })
    }

    pub fn name(&self) -> &str {
        self.stanza.get("Package").unwrap_or_default()
    }

    pub fn version(&self) -> &str {
        self.stanza.get("Version").unwrap_or_default()
    }

    pub fn architecture(&self) -> &str {
        self.stanza.get("Architecture").unwrap_or_default()
    }

    /// Whether instances of several architectures may be installed side by side.
    pub fn multi_arch_same(&self) -> bool {
        self.stanza.get("Multi-Arch") == Some("same")
    }

    /// Returns the name dpkg files the package under: `libc6:amd64` for `Multi-Arch: same`, else the bare name.
    pub fn filed_as(&self) -> String {
        if self.multi_arch_same() { format!("{}:{}", self.name(), self.architecture()) } else { self.name().to_owned() }
    }

    /// Returns `Installed-Size` in KiB; zero when it is missing.
    pub fn installed_size(&self) -> u64 {
        self.stanza.get("Installed-Size").and_then(|size| size.parse().ok()).unwrap_or(0)
    }

    /// Returns the bytes of a maintainer script or list.
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(|file| file.bytes.as_slice())
    }

    /// Returns the configuration files in their order, and whether each is one that an upgrade shall remove, which the
    /// archive does not ship.
    pub fn conffiles(&self) -> Result<Vec<(GuestPath, bool)>, BadPackage> {
        let wrong = |line: &[u8]| BadPackage::ControlLine {
            file: "conffiles",
            line: String::from_utf8_lossy(line).into_owned(),
        };
        let lines = self.file("conffiles").unwrap_or_default().split(|&byte| byte == b'\n');
        lines
            .map(<[u8]>::trim_ascii)
            .filter(|line| !line.is_empty())
            .map(|line| {
                let (path, removed) =
                    line.strip_prefix(b"remove-on-upgrade ").map_or((line, false), |path| (path.trim_ascii(), true));
                let absolute = path.starts_with(b"/").then(|| GuestPath::new(path).ok()).flatten();
                Ok((absolute.ok_or_else(|| wrong(line))?, removed))
            })
            .collect()
    }

    /// Returns the lines of `triggers`.
    pub fn triggers(&self) -> Result<Vec<Trigger>, BadPackage> {
        let text = deb822::text(self.file("triggers").unwrap_or_default())?;
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        lines.filter(|line| !line.is_empty()).map(trigger).collect()
    }
}

fn trigger(line: &str) -> Result<Trigger, BadPackage> {
    let wrong = || BadPackage::ControlLine { file: "triggers", line: line.to_owned() };
    let (word, name) = line.split_once(char::is_whitespace).ok_or_else(wrong)?;
    let (interest, waits) = match word {
        "interest" | "interest-await" => (Interest::Interested, true),
        "interest-noawait" => (Interest::Interested, false),
        "activate" | "activate-await" => (Interest::Activates, true),
        "activate-noawait" => (Interest::Activates, false),
        _ => return Err(wrong()),
    };
    let name = name.trim();
    // Names become file names below `triggers/`; dpkg asks for printable ASCII without blanks.
    let usable = name.bytes().all(|byte| (33..127).contains(&byte)) && !name.is_empty();
    let plain = name.starts_with('/') || !(name.contains('/') || name.starts_with('.'));
    if !usable || !plain {
        return Err(wrong());
    }
    Ok(Trigger { interest, waits, name: name.to_owned() })
}
