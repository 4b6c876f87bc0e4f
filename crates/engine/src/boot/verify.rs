//! Assertions: the command each one asks of the guest, and what its answer means.

use kiln_recipe::spec::Assert;

use super::shell::Answer;

/// Returns the assertion as a person says it.
pub fn name(assert: &Assert) -> String {
    match assert {
        Assert::UnitActive(unit) => format!("unit `{unit}` is active"),
        Assert::Command { run, status, contains: None, .. } => format!("`{run}` exits with {status}"),
        Assert::Command { run, status, contains: Some(text), .. } => {
            format!("`{run}` exits with {status} and says `{text}`")
        }
        Assert::PortOpen(port) => format!("something listens on TCP port {port}"),
        Assert::NoFailedUnits => "no unit has failed".into(),
        Assert::Restart => "the machine comes up again after a restart".into(),
    }
}

/// Returns the command that finds out.
pub fn script(assert: &Assert) -> String {
    match assert {
        // Without systemd, OpenRC knows.
        Assert::UnitActive(unit) => {
            let service = quote(unit.strip_suffix(".service").unwrap_or(unit));
            format!(
                "if command -v systemctl >/dev/null; then systemctl is-active -- {}; else rc-service {service} status; fi",
                quote(unit)
            )
        }
        Assert::Command { run, .. } => run.clone(),
        Assert::PortOpen(_) => "cat /proc/net/tcp /proc/net/tcp6 2>/dev/null || :".into(),
        Assert::NoFailedUnits => {
            "if command -v systemctl >/dev/null; then systemctl --failed --no-legend --plain --no-pager; \
                                  elif [ ! -d /etc/runlevels ]; then echo \"neither systemd nor OpenRC knows\"; exit 127; \
                                  else for service in /etc/runlevels/sysinit/* /etc/runlevels/boot/* /etc/runlevels/default/*; do \
                                  [ -L \"$service\" ] || continue; rc-service \"${service##*/}\" status >/dev/null 2>&1 || \
                                  echo \"${service##*/}\"; done; fi"
                .into()
        }
        // Nothing is asked: a restart parts the assertions before it from those after it.
        Assert::Restart => "true".into(),
    }
}

/// Returns what is wrong with the answer; nothing when the assertion holds.
pub fn wrong(assert: &Assert, answer: &Answer) -> Option<String> {
    let said = answer.output.trim();
    match assert {
        Assert::UnitActive(_) => (answer.status != 0).then(|| format!("it is {said}")),
        Assert::Command { status, .. } if answer.status != *status => Some(format!("it exited with {}", answer.status)),
        Assert::Command { contains: Some(text), .. } if !answer.output.contains(text.as_str()) => {
            Some("its output does not hold that".into())
        }
        Assert::Command { .. } | Assert::Restart => None,
        Assert::PortOpen(port) => (!listening(&answer.output).contains(port)).then(|| heard(&answer.output)),
        Assert::NoFailedUnits if answer.status != 0 => Some(format!("it cannot be told ({}): {said}", answer.status)),
        Assert::NoFailedUnits => (!said.is_empty()).then(|| format!("failed: {}", failed_units(said).join(", "))),
    }
}

/// Returns a command that tells more about a failed assertion, where there is more to tell.
pub fn inquiry(assert: &Assert) -> Option<String> {
    match assert {
        Assert::UnitActive(unit) => {
            let unit = quote(unit);
            Some(format!(
                "command -v systemctl >/dev/null || {{ rc-status --all; exit; }}; \
                 systemctl status --no-pager -l -n 0 -- {unit}; journalctl -b -u {unit} -n 20 --no-pager -o cat"
            ))
        }
        Assert::PortOpen(_) | Assert::Command { .. } | Assert::Restart => None,
        Assert::NoFailedUnits => Some(FAILED_UNITS.into()),
    }
}

/// Lists failed units, each with the end of its journal.
pub const FAILED_UNITS: &str = "command -v systemctl >/dev/null || { rc-status --all; exit; }; for unit in $(systemctl --failed --no-legend --plain --no-pager | cut -d' ' -f1); do \
     echo \"-- $unit\"; journalctl -b -u \"$unit\" -n 15 --no-pager -o cat; done";

/// Returns the first words of the lines of `systemctl --failed`.
pub fn failed_units(said: &str) -> Vec<&str> {
    said.lines().filter_map(|line| line.split_whitespace().next()).collect()
}

fn heard(table: &str) -> String {
    match listening(table).as_slice() {
        [] => "nothing listens on any".into(),
        ports => format!("listening: {}", ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// Returns the ports in state LISTEN of `/proc/net/tcp` and `/proc/net/tcp6`, sorted.
fn listening(table: &str) -> Vec<u16> {
    let port = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (local, _remote, state) = (words.next()?, words.next()?, words.next()?);
        let port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
        (state == "0A").then_some(port)
    };
    let mut ports: Vec<u16> = table.lines().filter_map(port).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n\
           0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1\n\
           1: 0100007F:1F90 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 4712 1\n\
           0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 0\n";

    #[test]
    fn answers_mean_what_they_say() {
        let command = |status, contains: Option<&str>| Assert::Command {
            run: "x".into(),
            status,
            contains: contains.map(str::to_owned),
            timeout: None,
        };
        let cases: &[(Assert, i32, &str, Option<&str>)] = &[
            (Assert::UnitActive("ssh".into()), 0, "active\n", None),
            (Assert::UnitActive("ssh".into()), 3, "inactive\n", Some("it is inactive")),
            (command(0, None), 0, "", None),
            (command(2, None), 0, "", Some("it exited with 0")),
            (command(0, Some("yes")), 0, "oh yes\n", None),
            (command(0, Some("yes")), 0, "no\n", Some("its output does not hold that")),
            (Assert::PortOpen(22), 0, TCP, None),
            (Assert::PortOpen(80), 0, TCP, None),
            (Assert::PortOpen(8080), 0, TCP, Some("listening: 22, 80")),
            (Assert::PortOpen(22), 0, "", Some("nothing listens on any")),
            (Assert::NoFailedUnits, 0, "", None),
            (
                Assert::NoFailedUnits,
                0,
                "a.service loaded failed failed A\nb.mount loaded failed failed B\n",
                Some("failed: a.service, b.mount"),
            ),
            (
                Assert::NoFailedUnits,
                127,
                "sh: systemctl: not found\n",
                Some("it cannot be told (127): sh: systemctl: not found"),
            ),
        ];
        for (assert, status, output, wanted) in cases {
            let answer = Answer { status: *status, output: (*output).into() };
            assert_eq!(wrong(assert, &answer).as_deref(), *wanted, "{assert:?}");
        }
    }

    #[test]
    fn words_are_quoted() {
        assert_eq!(
            script(&Assert::UnitActive("a'b".into())),
            r"if command -v systemctl >/dev/null; then systemctl is-active -- 'a'\''b'; else rc-service 'a'\''b' status; fi"
        );
    }
}
