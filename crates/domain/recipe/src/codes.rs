//! The words that diagnostics carry for programs, each explained.

/// Every code and what it means.
pub static CODES: &[(&str, &str)] = &[
    ("syntax", "the file is not TOML, or not even UTF-8"),
    ("unreadable", "a file that the recipe names cannot be read"),
    ("include-cycle", "a file includes itself, directly or through others"),
    ("edition", "the recipe does not say its edition, or one that this kiln does not know"),
    ("unknown-key", "no such key here"),
    ("missing-key", "a key that must be there is not"),
    ("wrong-type", "a value of another type is wanted"),
    ("bad-value", "the type is right, the value is not"),
    ("unknown-word", "not one of the words that are possible here"),
    ("unknown-release", "no such distribution or release in the catalogue"),
    ("ended-release", "a release that its makers no longer support"),
    ("unknown-board", "no such board in the catalogue"),
    ("unknown-profile", "`--profile` names a profile that the recipe does not have"),
    ("password-in-clear", "a password stands in the recipe itself"),
    ("contradiction", "two settings cannot both be"),
    ("duplicate", "the same thing is said twice"),
    ("needed-but-excluded", "a package is excluded that another setting needs"),
    ("unknown-secret", "a secret is used that `[secrets]` does not declare"),
    ("unused-secret", "a secret is declared and never used (warning)"),
    ("without-effect", "a setting changes nothing as the recipe is (warning)"),
    ("wifi-without-country", "Wi-Fi is set up without the country whose rules it must keep (warning)"),
    ("no-keyring", "kiln does not bring the keys of this distribution's archive, and the recipe neither"),
    ("unsigned", "a repository is used without any signature (warning)"),
    ("nobody-can-log-in", "a user who may log in has neither password nor key (warning)"),
    (
        "unknown-package",
        "no repository of the recipe has a package (or task) of this name; a warning where it is only excluded",
    ),
    ("parameter", "a parameter of Pieman's has a value that it cannot have"),
    ("not-data", "`.env` holds what a shell would have to evaluate"),
    ("not-in-kiln", "something that Pieman does and kiln does not, or not yet"),
    ("too-small", "a size that the recipe fixes is too small for the packages"),
    ("unsatisfiable", "the packages are there, but cannot be installed as they are asked for"),
];

/// Whether `code` is in the table.
pub fn known(code: &str) -> bool {
    CODES.iter().any(|(name, _)| *name == code)
}
