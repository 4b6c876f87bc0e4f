//! Which packages kiln may unpack itself, judged by their `preinst`.
//!
//! dpkg runs `preinst install` before it unpacks. In an empty base that is impossible (there is no shell yet), and
//! debootstrap has shown for decades that running it afterwards does no harm there, with one exception: a script that
//! diverts files *and renames them* (`dpkg-divert` without `--no-rename`) would move what was just unpacked.
//!
//! On a tree that works, a script may do anything: stop services, move files away, make users. So it must prove to be
//! quiet on a *first* installation (`$1` is `install`, `$2` is empty). Parts that cannot run then are left out: the
//! sections debhelper adds (each acts on upgrades only) and `if` blocks that ask for an upgrade or an old version. Every
//! command word that is left must be one of [`QUIET`]. Anything else, and anything the small scanner below does not
//! understand, makes the script loud, and its package is left to the real `dpkg --unpack`.
//!
//! A few large or common packages whose scripts the scanner cannot follow were read by hand ([`REVIEWED`]): run after
//! unpacking they do what they do before it.

use super::Phase;
use crate::deb::package::Control;

/// How a package is unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Natively; it has no `preinst`.
    Plain,
    /// Natively; its `preinst` runs afterwards.
    After,
    /// By `dpkg --unpack`, in the sandbox.
    Real,
}

/// Command words of a quiet script, shell keywords and builtins among them.
const QUIET: [&str; 32] = [
    "!",
    ":",
    "[",
    "case",
    "cd",
    "do",
    "done",
    "dpkg",
    "dpkg-maintscript-helper",
    "echo",
    "elif",
    "else",
    "esac",
    "exit",
    "export",
    "false",
    "fi",
    "for",
    "if",
    "in",
    "mkdir",
    "printf",
    "return",
    "set",
    "shift",
    "test",
    "then",
    "touch",
    "true",
    "while",
    "{",
    "}",
];

/// Packages whose scripts were read (Debian 12 and 13, Ubuntu 22.04 and 24.04); a name that ends in `*` is a beginning.
///
/// `adduser` and `sudo` move old configuration on upgrades only; `systemd` and `udev` refuse a tree without merged `/usr`;
/// `ucf` copies its old data, of which there is none; kernels make `/lib/modules/VERSION` and run hooks.
const REVIEWED: [&str; 6] = ["adduser", "linux-image-*", "sudo", "systemd", "ucf", "udev"];

/// Judges a package.
pub fn class(control: &Control, phase: Phase) -> Class {
    let Some(script) = control.file("preinst") else { return Class::Plain };
    let Ok(script) = std::str::from_utf8(script) else { return Class::Real };
    let loud = match phase {
        Phase::Base => renames(script),
        Phase::Further => renames(script) || !(is_reviewed(control.name()) || is_quiet(script)),
    };
    if loud { Class::Real } else { Class::After }
}

/// Whether a script may divert files and rename them on the way.
fn renames(script: &str) -> bool {
    let asks =
        |line: &str| ["--truename", "--listpackage", "--list", "--remove"].iter().any(|option| line.contains(option));
    logical_lines(script)
        .iter()
        .any(|line| line.contains("dpkg-divert") && !asks(line) && !line.contains("--no-rename"))
}

fn is_reviewed(name: &str) -> bool {
    REVIEWED.iter().any(|known| known.strip_suffix('*').map_or(name == *known, |beginning| name.starts_with(beginning)))
}

/// Whether every command of a script is known to leave a tree alone on a first installation.
fn is_quiet(script: &str) -> bool {
    let shell = script
        .lines()
        .next()
        .is_some_and(|first| first.starts_with("#!") && (first.contains("/sh") || first.contains("/bash")));
    shell && without_upgrades(logical_lines(script)).iter().all(|line| line_is_quiet(line))
}

/// Returns the lines without comments, empty ones and what debhelper added, those that end in a backslash joined with the next.
fn logical_lines(script: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let (mut open, mut added) = (false, false);
    for line in script.lines() {
        let line = line.trim();
        added =
            (added || line.starts_with("# Automatically added by dh_")) && line != "# End automatically added section";
        if added {
            continue;
        }
        if line.starts_with('#') || line.is_empty() && !open {
            continue;
        }
        let (text, goes_on) = line.strip_suffix('\\').map_or((line, false), |text| (text, true));
        match lines.last_mut().filter(|_| open) {
            Some(last) => {
                last.push(' ');
                last.push_str(text);
            }
            None => lines.push(text.to_owned()),
        }
        open = goes_on;
    }
    lines
}

/// Leaves out `if` blocks that only an upgrade enters; one with an `else` of its own stays whole.
fn without_upgrades(lines: Vec<String>) -> Vec<String> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let end = if asks_for_upgrade(&lines[at]) { end_of_block(&lines[at..]) } else { None };
        match end {
            Some(length) => at += length,
            None => {
                kept.push(lines[at].clone());
                at += 1;
            }
        }
    }
    kept
}

/// Whether a line is an `if` that cannot be true on a first installation: all its parts must hold, and one cannot.
fn asks_for_upgrade(line: &str) -> bool {
    let Some(condition) = line.strip_prefix("if ") else { return false };
    let condition = condition.trim_end_matches("then").trim_end().trim_end_matches(';');
    let impossible = ["[ \"$1\" = upgrade ]", "[ \"$1\" = \"upgrade\" ]", "[ -n \"$2\" ]"];
    !condition.contains("||") && condition.split("&&").map(str::trim).any(|part| impossible.contains(&part))
}

/// Returns how many lines an `if` block has; none when it has branches or does not close.
fn end_of_block(lines: &[String]) -> Option<usize> {
    let mut depth = 0;
    for (at, line) in lines.iter().enumerate() {
        let word = line.split([' ', ';']).next().unwrap_or_default();
        match word {
            "if" if line.ends_with("fi") && line.contains(';') && depth > 0 => {}
            "if" => depth += 1,
            "else" | "elif" if depth == 1 => return None,
            "fi" if depth == 1 => return (line == "fi").then_some(at + 1),
            "fi" => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Here-documents, command substitution, subshells, functions, redirections and quotes that span lines are not understood.
fn line_is_quiet(line: &str) -> bool {
    if line.contains('`') || line.contains("$(") || line.contains("<<") || line.contains('>') || line.contains("()") {
        return false;
    }
    let Some(commands) = commands(line) else { return false };
    commands.iter().all(|command| command_is_quiet(command))
}

fn command_is_quiet(command: &[String]) -> bool {
    let mut words = command.iter().map(String::as_str);
    while let Some(word) = words.next() {
        match word {
            // What follows these words is a command again.
            "if" | "elif" | "then" | "else" | "do" | "while" | "!" | "{" | "}" => {}
            "dpkg" => return words.next() == Some("--compare-versions"),
            // A pattern of `case` stands before its command.
            _ if word.ends_with(')') => {}
            // `case WORD in PATTERN) COMMAND`, as in `case "$1" in install)`.
            "case" => {
                words.next();
                words.next();
            }
            _ => return QUIET.contains(&word),
        }
    }
    true
}

/// Splits a line into commands and these into words; none when a quote stays open.
fn commands(line: &str) -> Option<Vec<Vec<String>>> {
    let mut commands = vec![Vec::new()];
    let (mut word, mut quote, mut letters) = (String::new(), None, line.chars());
    let push = |commands: &mut Vec<Vec<String>>, word: &mut String| {
        if !word.is_empty() {
            commands.last_mut().expect("never empty").push(std::mem::take(word));
        }
    };
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (Some(_), _) => word.push(if letter.is_whitespace() { '_' } else { letter }),
            (None, '\'' | '"') => quote = Some(letter),
            (None, '\\') => word.extend(letters.next()),
            (None, ';' | '&' | '|') => {
                push(&mut commands, &mut word);
                commands.push(Vec::new());
            }
            (None, _) if letter.is_whitespace() => push(&mut commands, &mut word),
            (None, '#') if word.is_empty() => break,
            (None, _) => word.push(letter),
        }
    }
    push(&mut commands, &mut word);
    quote.is_none().then_some(commands)
}
