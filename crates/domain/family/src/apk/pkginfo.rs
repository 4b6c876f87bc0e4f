//! `.PKGINFO`: lines `key = value`, `#` begins a comment; lists are keys that are there several times (apk-package(5)).

use super::checksum::Checksum;
use super::error::BadArchive;
use super::relation;
use super::version::Version;

/// What a package says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PkgInfo {
    pub name: String,
    pub version: String,
    pub arch: String,
    pub description: String,
    pub url: String,
    pub license: String,
    pub origin: Option<String>,
    pub maintainer: Option<String>,
    pub commit: Option<String>,
    /// Seconds since 1970.
    pub build_date: Option<u64>,
    /// Bytes of its files.
    pub size: u64,
    pub provider_priority: Option<u16>,
    pub depends: Vec<String>,
    pub provides: Vec<String>,
    pub install_if: Vec<String>,
    pub replaces: Vec<String>,
    pub replaces_priority: Option<u16>,
    /// Globs of directories.
    pub triggers: Vec<String>,
    /// SHA-256 of the compressed data.
    pub data_hash: Option<Checksum>,
}

impl PkgInfo {
    /// Reads the file; keys that nobody needs are passed over, as apk does.
    pub fn parse(text: &str) -> Result<Self, BadArchive> {
        let mut info = Self::default();
        for (at, line) in text.lines().enumerate() {
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            let wrong = |what: String| BadArchive::PkgInfo { line: at + 1, what };
            let (key, value) = line.split_once('=').ok_or_else(|| wrong("it has no `=`".into()))?;
            let (key, value) = (key.trim(), value.trim());
            info.set(key, value).map_err(|what| wrong(format!("`{key}`: {what}")))?;
        }
        info.check()
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let owned = || Some(value.to_owned());
        match key {
            "pkgname" => value.clone_into(&mut self.name),
            "pkgver" => value.clone_into(&mut self.version),
            "arch" => value.clone_into(&mut self.arch),
            "pkgdesc" => value.clone_into(&mut self.description),
            "url" => value.clone_into(&mut self.url),
            "license" => value.clone_into(&mut self.license),
            "origin" => self.origin = owned(),
            "maintainer" => self.maintainer = owned(),
            "commit" => self.commit = owned(),
            "builddate" => self.build_date = Some(number(value)?),
            "size" => self.size = number(value)?,
            "provider_priority" => self.provider_priority = Some(number(value)?),
            "replaces_priority" => self.replaces_priority = Some(number(value)?),
            "depend" => add(&mut self.depends, value)?,
            "provides" => add(&mut self.provides, value)?,
            "install_if" => add(&mut self.install_if, value)?,
            "replaces" => add(&mut self.replaces, value)?,
            "triggers" => self.triggers.extend(value.split_ascii_whitespace().map(str::to_owned)),
            "datahash" => self.data_hash = Some(Checksum::from_hex(value).map_err(|error| error.to_string())?),
            _ => {}
        }
        Ok(())
    }

    fn check(self) -> Result<Self, BadArchive> {
        let absent =
            [("pkgname", &self.name), ("pkgver", &self.version)].into_iter().find(|(_, value)| value.is_empty());
        if let Some((field, _)) = absent {
            return Err(BadArchive::Field(field));
        }
        if !relation::is_package_name(&self.name) {
            return Err(BadArchive::PkgInfo { line: 0, what: format!("`{}` is no package's name", self.name) });
        }
        Version::parse(&self.version).map_err(|error| BadArchive::PkgInfo { line: 0, what: error.to_string() })?;
        Ok(self)
    }

    /// Returns `name-version`.
    pub fn full_name(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }
}

fn number<T: std::str::FromStr>(value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("`{value}` is not a number that fits"))
}

fn add(list: &mut Vec<String>, value: &str) -> Result<(), String> {
    for atom in relation::parse(value).map_err(|error| error.to_string())? {
        list.push(atom.to_string());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_abuild_writes() {
        let text = "# Generated\npkgname = a\npkgver = 1.0-r0\nsize = 12\narch = x86_64\ndepend = b>=1\ndepend = so:c.so.1\n\
                    provides = cmd:a=1.0-r0\nreplaces = d e\nreplaces_priority = 2\ntriggers = /bin /usr/lib/*\nnewer = x\n";
        let info = PkgInfo::parse(text).unwrap();
        assert_eq!((info.full_name().as_str(), info.size, info.arch.as_str()), ("a-1.0-r0", 12, "x86_64"));
        assert_eq!(
            (info.depends, info.replaces),
            (vec!["b>=1".into(), "so:c.so.1".into()], vec!["d".into(), "e".into()])
        );
        assert_eq!((info.triggers, info.replaces_priority), (vec!["/bin".into(), "/usr/lib/*".into()], Some(2)));
    }

    #[test]
    fn damage_has_a_line() {
        let cases = [
            ("pkgname = a\n", "`.PKGINFO` has no `pkgver`"),
            ("pkgname = a\nsize = x\n", "line 2 of `.PKGINFO`: `size`: `x` is not a number that fits"),
            ("nonsense\n", "line 1 of `.PKGINFO`: it has no `=`"),
            ("pkgname = ../a\npkgver = 1\n", "line 0 of `.PKGINFO`: `../a` is no package's name"),
        ];
        for (text, wanted) in cases {
            assert_eq!(PkgInfo::parse(text).unwrap_err().to_string(), wanted);
        }
    }
}
