//! The host's own package sources: where a host that runs the wanted distribution gets its packages from.

use std::fs;
use std::path::Path;

/// One entry of the host's package sources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// `deb`, `deb-src`.
    pub types: Vec<String>,
    pub uris: Vec<String>,
    pub suites: Vec<String>,
    pub components: Vec<String>,
    pub architectures: Vec<String>,
    /// Path of a keyring or a key in place, as written.
    pub signed_by: Option<String>,
}

/// What the host says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostSources {
    /// `ID` of os-release, as in `debian`; empty when it says nothing.
    pub distribution: String,
    /// `VERSION_CODENAME` of os-release.
    pub codename: String,
    pub sources: Vec<Source>,
}

impl HostSources {
    /// Returns where the host gets `distribution` itself from, without a slash at the end: the first archive of binary
    /// packages that has the host's own release as a suite. None when the host runs another distribution.
    pub fn mirror(&self, distribution: &str) -> Option<&str> {
        self.serving(distribution, |suite| suite == self.codename || ALIASES.contains(&suite))
    }

    /// Returns where the host gets its security updates from.
    pub fn security_mirror(&self, distribution: &str) -> Option<&str> {
        self.serving(distribution, |suite| suite.ends_with("-security") || suite.ends_with("/updates"))
    }

    fn serving(&self, distribution: &str, has: impl Fn(&str) -> bool) -> Option<&str> {
        if self.distribution != distribution {
            return None;
        }
        let fits = |source: &&Source| {
            let main = source.components.iter().any(|component| component == "main");
            source.types.iter().any(|kind| kind == "deb") && main && source.suites.iter().any(|suite| has(suite))
        };
        let known = |uri: &&String| ["http://", "https://", "file:/"].iter().any(|scheme| uri.starts_with(scheme));
        let uris = self.sources.iter().filter(fits).flat_map(|source| &source.uris);
        uris.filter(known).map(|uri| uri.trim_end_matches('/')).next()
    }
}

/// Suites that are releases under another name; other archives call theirs by their own names.
const ALIASES: [&str; 5] = ["stable", "testing", "unstable", "sid", "kali-rolling"];

/// Reads the sources of the machine kiln runs on; what cannot be read is not there.
pub fn host_sources() -> HostSources {
    read(Path::new("/"))
}

/// The same of a machine whose root is elsewhere.
pub fn read(root: &Path) -> HostSources {
    let text = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    let release = text("etc/os-release");
    let mut sources = parse_list(&text("etc/apt/sources.list"));
    let folder = root.join("etc/apt/sources.list.d");
    let list = fs::read_dir(&folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = list.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    for name in names {
        let text = fs::read_to_string(folder.join(&name)).unwrap_or_default();
        match name.rsplit_once('.') {
            Some((_, "list")) => sources.append(&mut parse_list(&text)),
            Some((_, "sources")) => sources.append(&mut parse_deb822(&text)),
            _ => {}
        }
    }
    let (distribution, codename) = (os_release(&release, "ID"), os_release(&release, "VERSION_CODENAME"));
    HostSources { distribution, codename, sources }
}

fn os_release(text: &str, key: &str) -> String {
    let value = text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
    value.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
}

/// Parses the one-line form: `deb [signed-by=/x.gpg arch=amd64] http://host/debian suite main contrib`.
pub fn parse_list(text: &str) -> Vec<Source> {
    text.lines().filter_map(|line| parse_line(line.split('#').next().unwrap_or_default())).collect()
}

fn parse_line(line: &str) -> Option<Source> {
    let (kind, rest) = line.trim().split_once(char::is_whitespace)?;
    if kind != "deb" && kind != "deb-src" {
        return None;
    }
    let mut source = Source { types: vec![kind.to_owned()], ..Source::default() };
    let mut rest = rest.trim_start();
    if let Some(options) = rest.strip_prefix('[') {
        let (options, behind) = options.split_once(']')?;
        options.split_whitespace().for_each(|option| source.option(option));
        rest = behind;
    }
    let mut words = rest.split_whitespace().map(str::to_owned);
    source.uris.push(words.next()?);
    source.suites.push(words.next()?);
    source.components.extend(words);
    Some(source)
}

impl Source {
    fn option(&mut self, option: &str) {
        match option.split_once('=') {
            Some(("signed-by", path)) => self.signed_by = Some(path.to_owned()),
            Some(("arch", list)) => self.architectures = list.split(',').map(str::to_owned).collect(),
            _ => {}
        }
    }
}

/// Parses the form in fields, an entry a paragraph; those with `Enabled: no` are left out.
pub fn parse_deb822(text: &str) -> Vec<Source> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    lines.split(|line| line.trim().is_empty()).filter_map(parse_paragraph).collect()
}

fn parse_paragraph(lines: &[&str]) -> Option<Source> {
    let (mut source, mut enabled, mut field) = (Source::default(), true, String::new());
    for line in lines {
        let value = if line.starts_with([' ', '\t']) {
            line.trim()
        } else {
            let (name, value) = line.split_once(':')?;
            field = name.trim().to_ascii_lowercase();
            value.trim()
        };
        let words = || value.split_whitespace().map(str::to_owned);
        match field.as_str() {
            "types" => source.types.extend(words()),
            "uris" => source.uris.extend(words()),
            "suites" => source.suites.extend(words()),
            "components" => source.components.extend(words()),
            "architectures" => source.architectures.extend(words()),
            "signed-by" => source.sign(value),
            "enabled" => enabled = !matches!(value, "no" | "false" | "0" | "off"),
            _ => {}
        }
    }
    (enabled && !source.uris.is_empty()).then_some(source)
}

impl Source {
    /// Adds a line of `Signed-By`; in a key in place, a lone dot is an empty line.
    fn sign(&mut self, line: &str) {
        let signed_by = self.signed_by.get_or_insert_default();
        if !signed_by.is_empty() {
            signed_by.push('\n');
        }
        signed_by.push_str(if line == "." { "" } else { line });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn one_line_entries() {
        let text = "# comment\ndeb [ arch=amd64,arm64 signed-by=/k.gpg ] http://m.example/debian bookworm main contrib # x\n\
                    deb-src http://m.example/debian bookworm main\nrpm http://x y\ndeb\ndeb http://flat.example/ ./\n";
        let got = parse_list(text);
        assert_eq!(got.len(), 3);
        let wanted = Source {
            types: texts(&["deb"]),
            uris: texts(&["http://m.example/debian"]),
            suites: texts(&["bookworm"]),
            components: texts(&["main", "contrib"]),
            architectures: texts(&["amd64", "arm64"]),
            signed_by: Some("/k.gpg".to_owned()),
        };
        assert_eq!(got[0], wanted);
        assert_eq!((&got[1].types, &got[2].suites), (&texts(&["deb-src"]), &texts(&["./"])));
    }

    #[test]
    fn entries_in_fields() {
        let text = "Types: deb deb-src\n# comment\nURIs: http://m.example/debian\nSuites: bookworm\n bookworm-updates\n\
                    Components: main\nSigned-By:\n -----BEGIN\n .\n xyz\n\n\nTypes: deb\nURIs: http://off.example\nEnabled: no\n";
        let wanted = Source {
            types: texts(&["deb", "deb-src"]),
            uris: texts(&["http://m.example/debian"]),
            suites: texts(&["bookworm", "bookworm-updates"]),
            components: texts(&["main"]),
            signed_by: Some("-----BEGIN\n\nxyz".to_owned()),
            ..Source::default()
        };
        assert_eq!(parse_deb822(text), [wanted]);
    }

    #[test]
    fn the_mirror_is_the_archive_that_has_the_release() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("etc/apt/sources.list.d");
        fs::create_dir_all(&folder).unwrap();
        let write = |name: &str, text: &str| fs::write(home.path().join("etc").join(name), text).unwrap();
        write("os-release", "PRETTY_NAME=\"Debian\"\nID=debian\nVERSION_CODENAME=\"bookworm\"\n");
        write("apt/sources.list", "deb https://vendor.example/apt vendor-bookworm main\n");
        write(
            "apt/sources.list.d/debian.sources",
            "Types: deb\nURIs: http://s.example/security/\nSuites: bookworm-security\nComponents: main\n\n\
             Types: deb\nURIs: mirror+file:/etc/list http://m.example/debian/\nSuites: bookworm\nComponents: main\n",
        );
        write("apt/sources.list.d/x.list.disabled", "deb http://no.example bookworm main\n");
        let host = read(home.path());
        assert_eq!(host.mirror("debian"), Some("http://m.example/debian"));
        assert_eq!(host.security_mirror("debian"), Some("http://s.example/security"));
        assert_eq!(host.mirror("ubuntu"), None);
        assert_eq!(read(&home.path().join("nowhere")), HostSources::default());
    }
}
