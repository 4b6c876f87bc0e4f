//! What the console says of how far the boot has come.

/// Returns whether `text` shows the login prompt; without a host name any host's will do.
pub fn login(text: &str, hostname: Option<&str>) -> bool {
    text.lines().any(|line| is_prompt(&plain(line), hostname))
}

fn is_prompt(line: &str, hostname: Option<&str>) -> bool {
    let mut found = line.match_indices(" login:").filter_map(|(at, _)| line[..at].split_whitespace().next_back());
    match hostname {
        // agetty leaves out the domain, unless it is told not to.
        Some(hostname) => found.any(|name| name == hostname || Some(name) == hostname.split('.').next()),
        None => found.any(|name| name != "Last"),
    }
}

/// The kernel's last words.
pub const PANIC: &str = "Kernel panic - not syncing";

/// Signs that no login prompt will come, and what they mean.
const TROUBLE: &[(&str, &str)] = &[
    (PANIC, "the kernel panicked"),
    ("You are in emergency mode", "systemd fell back to emergency mode"),
    ("Cannot open access to console, the root account is locked", "systemd fell back to emergency mode"),
    ("Dropping to a shell!", "the initrd found no root filesystem"),
    ("(initramfs) ", "the initrd found no root filesystem"),
    ("No bootable option or device was found", "the firmware found nothing to boot"),
    ("No bootable device", "the firmware found nothing to boot"),
    ("UEFI Interactive Shell", "the firmware found nothing to boot"),
];

/// Returns what went wrong when the console shows a sign that no login prompt will come.
pub fn trouble(text: &str) -> Option<&'static str> {
    TROUBLE.iter().find(|(sign, _)| text.contains(sign)).map(|(_, meaning)| *meaning)
}

/// Removes escape sequences and control characters from a line of a terminal.
pub fn plain(line: &str) -> String {
    let (mut out, mut chars) = (String::with_capacity(line.len()), line.chars().peekable());
    while let Some(c) = chars.next() {
        match c {
            '\x1b' => match chars.next() {
                Some('[') => {
                    chars.by_ref().find(|c| ('@'..='~').contains(c));
                }
                Some(']') => {
                    chars.by_ref().find(|c| *c == '\x07' || *c == '\\');
                }
                Some('(' | ')') => drop(chars.next()),
                _ => {}
            },
            '\t' => out.push('\t'),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// Returns the last `count` lines that say anything, plain.
pub fn tail(text: &str, count: usize) -> Vec<String> {
    let lines: Vec<String> = text.lines().map(plain).filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].to_vec()
}
