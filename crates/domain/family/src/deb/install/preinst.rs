//! Which packages kiln may unpack itself, judged by their `preinst`.
//!
//! dpkg runs `preinst install` before it unpacks. In an empty base that is impossible (there is no shell yet), and
//! debootstrap has shown for decades that running it afterwards does no harm there, with one exception: a script that
//! diverts files *and renames them* (`dpkg-divert` without `--no-rename`) would move what was just unpacked.
//!
//! On a tree that works, a script may do anything: stop services, move files away, make users. So it must prove to be
//! quiet: every command word in it is one of [`QUIET`], which do nothing to a tree on a first installation
//! (`dpkg-maintscript-helper` acts on upgrades only). Anything else, and anything the small scanner below does not
//! understand, makes the script loud, and its package is left to the real `dpkg --unpack`.

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
const QUIET: [&str; 30] = [
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
    "false",
    "fi",
    "for",
    "if",
    "printf",
    "return",
    "set",
    "shift",
    "test",
    "then",
    "true",
    "while",
    "{",
    "}",
    "in",
    "export",
];

/// Judges a package.
pub fn class(control: &Control, phase: Phase) -> Class {
    let Some(script) = control.file("preinst") else { return Class::Plain };
    let Ok(script) = std::str::from_utf8(script) else { return Class::Real };
    let loud = match phase {
        Phase::Base => renames(script),
        Phase::Further => !is_quiet(script),
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

/// Whether every command of a script is known to leave a tree alone on a first installation.
fn is_quiet(script: &str) -> bool {
    let shell = script
        .lines()
        .next()
        .is_some_and(|first| first.starts_with("#!") && (first.contains("/sh") || first.contains("/bash")));
    shell && logical_lines(script).iter().all(|line| line_is_quiet(line))
}

/// Returns the lines without comments and empty ones, those that end in a backslash joined with the next.
fn logical_lines(script: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut open = false;
    for line in script.lines() {
        let line = line.trim();
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
