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
    /// Name of the file it is in, without its ending: `sources`, `debian`, `vendor`.
    pub file: String,
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
    /// Returns where the host gets its own distribution from, as address (without a slash at its end) and suite: archives of
    /// binary packages with the host's own release or its security updates. Whatever else is installed from other
    /// archives under the same suite's name is no mirror of the distribution.
    pub fn own(&self) -> Vec<(&str, &str)> {
        let fits = |source: &&Source| {
            let binary = source.types.iter().any(|kind| kind == "deb");
            binary && source.components.iter().any(|component| component == "main") && self.is_signed_by_us(source)
        };
        let known = |uri: &&String| ["http://", "https://", "file:/"].iter().any(|scheme| uri.starts_with(scheme));
        let pairs = self.sources.iter().filter(fits).flat_map(|source| {
            let suites = || source.suites.iter().map(String::as_str).filter(|suite| self.is_own(suite));
            source
                .uris
                .iter()
                .filter(known)
                .flat_map(move |uri| suites().map(move |suite| (uri.trim_end_matches('/'), suite)))
        });
        pairs.collect()
    }

    fn is_own(&self, suite: &str) -> bool {
        let security = suite.strip_suffix("-security").or(suite.strip_suffix("/updates"));
        let release = security.unwrap_or(suite);
        release == self.codename || ALIASES.contains(&release)
    }

    /// By the distribution's own keyring, or by whatever apt trusts where the distribution's own file says nothing.
    fn is_signed_by_us(&self, source: &Source) -> bool {
        let ours = format!("{}-archive-keyring", self.distribution);
        match &source.signed_by {
            Some(paths) => paths
                .split([',', ' '])
                .any(|path| Path::new(path).file_stem().is_some_and(|stem| stem.to_str() == Some(&ours))),
            None => source.file == "sources" || source.file == self.distribution,
        }
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
    let mut sources = of_file("sources", parse_list(&text("etc/apt/sources.list")));
    let folder = root.join("etc/apt/sources.list.d");
    let list = fs::read_dir(&folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = list.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    for name in names {
        let text = fs::read_to_string(folder.join(&name)).unwrap_or_default();
        match name.rsplit_once('.') {
            Some((stem, "list")) => sources.append(&mut of_file(stem, parse_list(&text))),
            Some((stem, "sources")) => sources.append(&mut of_file(stem, parse_deb822(&text))),
            _ => {}
        }
    }
    let (distribution, codename) = (os_release(&release, "ID"), os_release(&release, "VERSION_CODENAME"));
    HostSources { distribution, codename, sources }
}

fn of_file(file: &str, sources: Vec<Source>) -> Vec<Source> {
    sources.into_iter().map(|source| Source { file: file.to_owned(), ..source }).collect()
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
            file: String::new(),
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

    /// Lays out a host: its os-release, and files below `etc/apt`.
    fn host(files: &[(&str, &str)]) -> HostSources {
        let home = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = home.path().join("etc").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("os-release", "PRETTY_NAME=\"Debian\"\nID=debian\nVERSION_CODENAME=\"bookworm\"\n");
        files.iter().for_each(|(name, text)| write(name, text));
        read(home.path())
    }

    const DEBIAN: &str = "Types: deb\nURIs: mirror+file:/etc/list http://m.example/debian/\nSuites: bookworm bookworm-updates\n\
                          Components: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n\
                          Types: deb\nURIs: http://s.example/security/\nSuites: bookworm-security\nComponents: main\n\
                          Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n";

    #[test]
    fn only_the_distributions_own_archives_are_its_mirrors() {
        let vendor = "Types: deb\nURIs: https://vendor.example/repos/tool/\nSuites: bookworm\nComponents: main\n";
        let keyed = format!("{vendor}Signed-By: /etc/apt/keyrings/vendor.gpg\n");
        let in_place =
            format!("{vendor}Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n debian-archive-keyring\n");
        let host = host(&[
            ("apt/sources.list.d/azure.sources", vendor),
            ("apt/sources.list.d/b.sources", &keyed),
            ("apt/sources.list.d/c.sources", &in_place),
            ("apt/sources.list.d/cloud.list", "deb https://cloud.example/apt bookworm main\n"),
            ("apt/sources.list.d/debian.sources", DEBIAN),
            ("apt/sources.list.d/x.list.disabled", "deb http://no.example bookworm main\n"),
        ]);
        assert_eq!(host.sources.len(), 6);
        let wanted = [("http://m.example/debian", "bookworm"), ("http://s.example/security", "bookworm-security")];
        assert_eq!((host.distribution.as_str(), host.own()), ("debian", wanted.to_vec()));
        assert_eq!(read(Path::new("/nowhere")), HostSources::default());
    }

    #[test]
    fn a_classic_list_needs_no_word_about_keys() {
        let list = "deb http://m.example/debian bookworm main contrib\ndeb-src http://m.example/debian bookworm main\n\
                    deb http://m.example/debian trixie main\ndeb http://s.example/security bookworm-security main\n\
                    deb [signed-by=/k.gpg] https://vendor.example/apt bookworm main\ndeb http://c.example/x bookworm tool\n";
        let wanted = [("http://m.example/debian", "bookworm"), ("http://s.example/security", "bookworm-security")];
        assert_eq!(host(&[("apt/sources.list", list)]).own(), wanted);
    }
}
