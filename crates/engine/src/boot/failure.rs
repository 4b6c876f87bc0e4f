//! A boot that did not come up as it should, said in full.

use kiln_model::Fault;

use super::console::Stop;
use super::prompt;

/// Lines of the console that a failure shows.
const LINES: usize = 30;

/// Returns the fault of a wait that ended early; `waited` says for what: `the login prompt`.
pub(super) fn stopped(stop: Stop, waited: &str, seconds: u64, console: &str, complaint: &str) -> Fault {
    let fault = match &stop {
        Stop::Interrupted => return Fault::interrupted(),
        Stop::Timeout if console.trim().is_empty() => {
            Fault::package(format!("no word on the console after {seconds} s"))
                .hint("does the kernel's `console=` name the board's serial port?")
        }
        Stop::Timeout => Fault::package(format!("{waited} did not come within {seconds} s"))
            .hint("`verify.timeout` allows more; `kiln boot` without --check shows the console"),
        Stop::Closed => Fault::package(format!("the machine stopped before {waited}")),
        Stop::Panicked => Fault::package(format!("the kernel panicked before {waited}")),
        Stop::Hypervisor(what) => Fault::farm(format!("KVM broke down: {what}")),
        Stop::Io(_) => Fault::farm("read the guest's console").because(stop),
    };
    fault.detail(last_lines(console, complaint))
}

/// Returns the fault of a sign on the console that no login prompt will come.
pub(super) fn trouble(meaning: &str, console: &str) -> Fault {
    Fault::package(meaning.to_owned()).detail(last_lines(console, ""))
}

/// Joins what there is to show below a message.
pub(super) fn sections(parts: &[(&str, &str)]) -> String {
    let full = parts.iter().filter(|(_, text)| !text.trim().is_empty());
    let all = full.map(|(title, text)| format!("{title}:\n{}", indent(text.trim_end())));
    all.collect::<Vec<_>>().join("\n")
}

/// Returns the last lines of the console without those of our own dialogue.
pub(super) fn tail(console: &str) -> String {
    let ours = |line: &&str| line.contains("@kiln") || line.contains("@ki''ln");
    let theirs: Vec<&str> = console.lines().filter(|line| !ours(line)).collect();
    prompt::tail(&theirs.join("\n"), LINES).join("\n")
}

fn last_lines(console: &str, complaint: &str) -> String {
    sections(&[("last lines of the console", &tail(console)), ("QEMU", complaint)])
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}
