//! The table of Pieman's parameters, in the order in which Pieman declares (and shows) them.

/// A parameter.
pub struct Parameter {
    pub name: &'static str,
    pub kind: Kind,
    pub default: Default,
    /// What it becomes in a recipe, for docs/pieman.md.
    pub becomes: &'static str,
}

/// What a value must be, and whether it may be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// Exactly `true` or `false`.
    Switch,
    /// Digits and nothing else.
    Number,
    /// Never shown; `-` asks for it.
    Protected,
    /// Text that is nobody's business: not shown, but `-` is a value like any other.
    Hidden,
    /// Pieman uses it without declaring it, and so does not show it.
    Undeclared,
}

/// What holds where a parameter is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    Word(&'static str),
    /// `pieman-DEVICE`.
    HostName,
    /// The folder Pieman is started in.
    Folder,
    /// A name that no other build has.
    Project,
    /// Whoever builds.
    Owner,
    /// `toolset` in `PIEMAN_DIR`.
    Toolset,
}

const fn parameter(name: &'static str, kind: Kind, default: &'static str, becomes: &'static str) -> Parameter {
    Parameter { name, kind, default: Default::Word(default), becomes }
}

const fn text(name: &'static str, default: &'static str, becomes: &'static str) -> Parameter {
    parameter(name, Kind::Text, default, becomes)
}

const fn switch(name: &'static str, default: &'static str, becomes: &'static str) -> Parameter {
    parameter(name, Kind::Switch, default, becomes)
}

const fn number(name: &'static str, default: &'static str, becomes: &'static str) -> Parameter {
    parameter(name, Kind::Number, default, becomes)
}

const fn protected(name: &'static str, default: &'static str, becomes: &'static str) -> Parameter {
    parameter(name, Kind::Protected, default, becomes)
}

const fn computed(name: &'static str, default: Default, becomes: &'static str) -> Parameter {
    Parameter { name, kind: Kind::Text, default, becomes }
}

pub static TABLE: &[Parameter] = &[
    switch("ALLOW_UNAUTHENTICATED", "false", "`unsigned = true` of the further `[[base.repository]]` of `pieman.yml`"),
    text("BASE_DIR", "", "`base.tree`"),
    text("BUILD_DIR", "build", "the folder of the artifacts (`kiln build --out`)"),
    switch("COMPRESS_WITH_BZIP2", "false", "`output.compression = \"bz2\"`"),
    switch("COMPRESS_WITH_GZIP", "false", "`output.compression = \"gz\"`"),
    switch("COMPRESS_WITH_XZ", "false", "`output.compression = \"xz\"`"),
    switch("CREATE_ONLY_MENDER_ARTIFACT", "false", "`output.format = \"mender\"` and `[mender]`"),
    switch("CREATE_ONLY_CHROOT", "false", "`output.format = \"dir\"`, and nothing of what follows the packages"),
    text("DEVICE", "rpi-3-b", "`base.board`"),
    text("ENABLE_CUSTOM_DNS", "", "`network.dns`"),
    switch("ENABLE_BASIC_YANDEX_DNS", "false", "`network.dns`"),
    switch("ENABLE_BSC_CHANNEL", "false", "the status channel; not part of a recipe"),
    switch("ENABLE_FAMILY_YANDEX_DNS", "false", "`network.dns`"),
    switch("ENABLE_GOOGLE_DNS", "false", "`network.dns`"),
    switch("ENABLE_SUDO", "true", "`user.sudo`; without `ENABLE_USER` the package alone"),
    switch("ENABLE_MENDER", "false", "`[mender]`, and with it two roots"),
    switch("ENABLE_NONFREE", "false", "`contrib` and `non-free` in `base.components`; on Debian too"),
    switch("ENABLE_UNATTENDED_INSTALLATION", "false", "nothing: kiln never asks"),
    switch("ENABLE_UNIVERSE", "false", "nothing: kiln's Ubuntu has `universe`"),
    switch("ENABLE_USER", "true", "a `[[user]]`"),
    switch("ENABLE_WIRELESS", "false", "`[[network.wifi]]` or a `wlan0`"),
    computed("HOST_NAME", Default::HostName, "`system.hostname`"),
    computed("IMAGE_OWNERSHIP", Default::Owner, "the owner of the artifacts; not part of a recipe"),
    number("IMAGE_ROOTFS_SIZE", "0", "`size` of the root's `[[disk.partition]]`, in MiB"),
    text("INCLUDES", "", "`packages.include`"),
    text("LOCALE", "en_US.UTF-8", "`system.locale`"),
    text("MENDER_ARTIFACT_NAME", "release-1_1.7.0", "`mender.artifact-name`"),
    number("MENDER_DATA_SIZE", "128", "`size` of the data's `[[disk.partition]]`, in MiB"),
    number("MENDER_INVENTORY_POLL_INTERVAL", "86400", "`mender.inventory-poll-interval`"),
    number("MENDER_RETRY_POLL_INTERVAL", "300", "`mender.retry-poll-interval`"),
    text("MENDER_SERVER_URL", "https://hosted.mender.io", "`mender.server-url`"),
    parameter("MENDER_TENANT_TOKEN", Kind::Hidden, "", "`mender.tenant-token`, by `[secrets]`"),
    number("MENDER_UPDATE_POLL_INTERVAL", "1800", "`mender.update-poll-interval`"),
    text("OS", "raspberrypios-buster-armhf", "`base.distribution`, `base.release`, `base.architecture`"),
    protected("PASSWORD", "secret", "`password` of the `[[user]]` `root`, by `[secrets]`"),
    computed("PIEMAN_DIR", Default::Folder, "where `devices/` and `keys/` are looked for"),
    switch("PREPARE_ONLY_TOOLSET", "false", "fills the cache with kiln's tools and stops"),
    text("PYTHON", "python3", "nothing: kiln needs no Python"),
    computed("PROJECT_NAME", Default::Project, "`name`"),
    text("REDIS_HOST", "127.0.0.1", "the status channel; not part of a recipe"),
    number("REDIS_PORT", "6379", "the status channel; not part of a recipe"),
    switch("SUDO_REQUIRE_PASSWORD", "true", "`user.sudo = \"password\"` or `\"no-password\"`"),
    text("TIME_ZONE", "Etc/UTC", "`system.timezone`"),
    text("TOOLSET_CODENAME", "v4-amy", "nothing but `${TOOLSET_CODENAME}` in `pieman.yml`"),
    computed(
        "TOOLSET_DIR",
        Default::Toolset,
        "nothing but `${TOOLSET_DIR}` in `pieman.yml`: the tools lie in the cache",
    ),
    text("USER_NAME", "cusdeb", "`user.name`"),
    protected("USER_PASSWORD", "secret", "`user.password`, by `[secrets]`"),
    text("WPA_SSID", "", "`ssid` of a `[[network.wifi]]`"),
    protected("WPA_PSK", "", "`psk` of a `[[network.wifi]]`, by `[secrets]`"),
    switch("XFCE4", "false", "`xfce4`, `lxdm`, `xfce4-goodies` in `packages.include`; `system.keyboard = \"us\"`"),
    parameter(
        "ENABLE_COMMUNITY",
        Kind::Undeclared,
        "",
        "`community` in `base.components`; Alpine's, and on unless it is `false`",
    ),
];

/// Names that Pieman once had, and what is to be said to those who still use them.
pub static FORMER: &[(&str, &str)] = &[
    ("ENABLE_BZIP2", "it is called `COMPRESS_WITH_BZIP2` since April 2018"),
    ("ENABLE_GZIP", "it is called `COMPRESS_WITH_GZIP` since April 2018"),
    ("ENABLE_XZ", "it is called `COMPRESS_WITH_XZ` since April 2018"),
    ("ENABLE_ROOT", "root always has an account; `PASSWORD` opens it"),
    ("PIEMAN_UTILS_DIR", "it was removed in July 2020"),
];

/// Whether a name is one of Pieman's parameters.
pub fn is_parameter(name: &str) -> bool {
    Parameter::find(name).is_some()
}

impl Parameter {
    pub fn find(name: &str) -> Option<&'static Self> {
        TABLE.iter().find(|parameter| parameter.name == name)
    }
}

impl Kind {
    /// Whether its values are never shown.
    pub const fn is_secret(self) -> bool {
        matches!(self, Self::Protected | Self::Hidden)
    }
}

/// Returns the table as docs/pieman.md shows it.
pub fn reference() -> String {
    format!(
        "\n| Parameter | Without it | What it becomes |\n|---|---|---|\n{}\n",
        TABLE.iter().map(row).collect::<String>()
    )
}

fn row(parameter: &Parameter) -> String {
    let default = match parameter.default {
        Default::Word("") => "empty".into(),
        Default::Word("secret") => "no password; `secret` with `--insecure-defaults`".into(),
        Default::Word(word) => format!("`{word}`"),
        Default::HostName => "`pieman-DEVICE`".into(),
        Default::Folder => "the working directory".into(),
        Default::Project => "a fresh UUID".into(),
        Default::Owner => "whoever builds".into(),
        Default::Toolset => "`PIEMAN_DIR/toolset`".into(),
    };
    format!("| `{}` | {default} | {} |\n", parameter.name, parameter.becomes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_piemans() {
        let count = |kinds: &[Kind]| TABLE.iter().filter(|parameter| kinds.contains(&parameter.kind)).count();
        assert_eq!(TABLE.len(), 51);
        // The one that is hidden is text to Pieman.
        let counts = [&[Kind::Text, Kind::Hidden][..], &[Kind::Switch], &[Kind::Number], &[Kind::Protected]].map(count);
        assert_eq!(counts, [21, 20, 6, 3]);
    }

    /// docs/pieman.md shows this table between two marks; `KILN_BLESS=1` writes it.
    #[test]
    fn the_documentation_shows_the_table() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/pieman.md");
        let text = std::fs::read_to_string(&path).unwrap();
        let (begin, end) = ("<!-- parameters: begin -->\n", "<!-- parameters: end -->");
        let (before, rest) = text.split_once(begin).unwrap();
        let (shown, after) = rest.split_once(end).unwrap();
        let table = reference();
        if std::env::var_os("KILN_BLESS").is_some() {
            std::fs::write(&path, format!("{before}{begin}{table}{end}{after}")).unwrap();
        } else {
            assert_eq!(shown, table, "KILN_BLESS=1 accepts");
        }
    }
}
