//! Recipes to start from, for `kiln new`.

/// A recipe to start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Template {
    pub name: &'static str,
    /// One line.
    pub description: &'static str,
    pub text: &'static str,
}

static TEMPLATES: &[Template] = &[
    Template {
        name: "minimal",
        description: "a disk that starts under UEFI: kernel, systemd, network, SSH server",
        text: include_str!("../templates/minimal.toml"),
    },
    Template {
        name: "server",
        description: "a server with an administrator, files, a service and a script",
        text: include_str!("../templates/server.toml"),
    },
    Template {
        name: "container",
        description: "a tree without kernel, as a tar archive",
        text: include_str!("../templates/container.toml"),
    },
    Template {
        name: "profiles",
        description: "one recipe for several images",
        text: include_str!("../templates/profiles.toml"),
    },
];

/// Returns every template; the first is what `kiln new` takes when none is named.
pub fn templates() -> &'static [Template] {
    TEMPLATES
}
