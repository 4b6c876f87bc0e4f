//! Commands over a serial line.
//!
//! A serial console is a bad telephone: it echoes, wraps, drops what comes while nobody reads, and the kernel talks in
//! between. So every line that is typed is short and answered by a marker before the next one follows, a command travels as
//! base64 and runs from a file, and its output comes back as base64 lines with a marker at both ends and a SHA-256 over all;
//! what arrives damaged is asked for again. Markers are typed with a `''` inside, so an echo is never taken for an answer.

use std::time::{Duration, Instant};

use kiln_model::Digest;

use super::console::{Console, Stop};

/// A root shell on the console.
pub struct Shell<'c, 'a> {
    console: &'c mut Console<'a>,
}

/// What a command answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Exit status as a shell tells it.
    pub status: i32,
    /// What it wrote to both outputs; at most the last [`KEPT`] bytes.
    pub output: String,
}

/// Bytes of output that are brought back.
pub const KEPT: usize = 256 * 1024;
/// Bytes of base64 in one typed line.
const TYPED: usize = 400;
/// How often a damaged answer is asked for again.
const TRIES: u32 = 4;
/// How long a shell may need to answer a typed line before it is typed again.
const KNOCK: Duration = Duration::from_secs(3);
/// How long the console may be silent within an answer.
const SILENCE: Duration = Duration::from_secs(10);

impl<'c, 'a> Shell<'c, 'a> {
    /// Finds the shell behind the login prompt and makes it quiet.
    pub fn enter(console: &'c mut Console<'a>, deadline: Instant) -> Result<Self, Stop> {
        let mut shell = Self { console };
        shell.knock("", deadline)?;
        // A plain shell without line editing; the kernel's talk would come in between.
        shell.knock("exec env TERM=dumb PS1= PS2= ENV= /bin/sh", deadline)?;
        shell.line(
            "stty -echo -onlcr 2>/dev/null; PS1=; PS2=; T=${KILN_FOLDER:-/run}; dmesg -n 1 2>/dev/null",
            deadline,
        )?;
        Ok(shell)
    }

    /// Returns to a shell that was entered before.
    pub fn again(console: &'c mut Console<'a>) -> Self {
        Self { console }
    }

    /// Runs `command` by `/bin/sh` without input and waits for its end.
    pub fn run(&mut self, command: &str, deadline: Instant) -> Result<Answer, Stop> {
        self.line("K=", deadline)?;
        for piece in base64(command.as_bytes()).as_bytes().chunks(TYPED) {
            self.line(&format!("K=${{K}}{}", String::from_utf8_lossy(piece)), deadline)?;
        }
        self.line("umask 077; printf %s \"$K\" | base64 -d >$T/kiln-command", deadline)?;
        self.line("/bin/sh $T/kiln-command >$T/kiln-output 2>&1 </dev/null; S=$?", deadline)?;
        self.line(&format!("tail -c {KEPT} $T/kiln-output >$T/kiln-kept"), deadline)?;
        let mut last = Stop::Timeout;
        for _ in 0..TRIES {
            match self.fetch(deadline) {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => {}
                Err(Stop::Timeout) => last = Stop::Timeout,
                Err(stop) => return Err(stop),
            }
        }
        Err(last)
    }

    /// Asks for the kept output; nothing when it arrived damaged.
    fn fetch(&mut self, deadline: Instant) -> Result<Option<Answer>, Stop> {
        let mark = self.next();
        let (ask, end) = (typed(&mark), format!("{mark}e:"));
        self.console.send(&format!(
            "base64 -w 64 $T/kiln-kept | sed \"s/^/\"{ask}\"l:/;s/\\$/:/\"; set -- $(sha256sum <$T/kiln-kept); echo {ask}e:$S:$1:\n"
        ))?;
        let text = self.console.wait_while_it_talks(SILENCE, deadline, |text| {
            let at = text.find(&end)?;
            text[at..].contains('\n').then(|| text.to_owned())
        })?;
        Ok(read(&text, &mark))
    }

    /// Types a line again and again until a shell answers.
    fn knock(&mut self, line: &str, deadline: Instant) -> Result<(), Stop> {
        // The question on a line of its own: `exec` never comes to what follows it on its line.
        self.ask(&format!("{line}\n"), deadline)
    }

    /// Types a line and waits until the shell is through with it.
    fn line(&mut self, line: &str, deadline: Instant) -> Result<(), Stop> {
        self.ask(&format!("{line}; "), deadline)
    }

    /// Types `line` and the question whether the shell is through; asks again, ever more patiently, since an answer may
    /// be torn.
    fn ask(&mut self, line: &str, deadline: Instant) -> Result<(), Stop> {
        let (mut line, mut patience) = (line, KNOCK);
        loop {
            let mark = self.next();
            self.console.send(&format!("{line}echo {}\n", typed(&mark)))?;
            let until = deadline.min(Instant::now() + patience);
            match self.console.wait(until, |text| text.contains(&mark).then_some(())) {
                Err(Stop::Timeout) if Instant::now() < deadline => (line, patience) = ("", patience * 2),
                done => return done,
            }
        }
    }

    fn next(&mut self) -> String {
        format!("@kiln{}@", self.console.ticket())
    }
}

/// Returns the marker as it is typed: the same to a shell, another to whoever reads the echo.
fn typed(mark: &str) -> String {
    mark.replacen("@kiln", "@ki''ln", 1)
}

/// Reads an answer out of what the console showed; nothing when its digest does not match.
fn read(text: &str, mark: &str) -> Option<Answer> {
    let (start, end) = (format!("{mark}l:"), format!("{mark}e:"));
    let body: String = text.split(&start).skip(1).filter_map(|piece| piece.split(':').next()).collect();
    let mut last = text[text.find(&end)? + end.len()..].split(':');
    let status = last.next()?.parse().ok()?;
    let digest: Digest = last.next()?.parse().ok()?;
    let output = unbase64(&body)?;
    (Digest::of(&output) == digest).then(|| Answer { status, output: String::from_utf8_lossy(&output).into_owned() })
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let number = (0..3).fold(0u32, |number, at| number << 8 | u32::from(*three.get(at).unwrap_or(&0)));
        for at in 0..4 {
            let digit = DIGITS[(number >> (18 - 6 * at) & 63) as usize];
            out.push(if at <= three.len() { digit as char } else { '=' });
        }
    }
    out
}

fn unbase64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let (mut out, mut bits, mut held) = (Vec::with_capacity(text.len() * 3 / 4), 0u32, 0);
    for byte in text.bytes() {
        let digit = DIGITS.iter().position(|known| *known == byte)? as u32;
        bits = bits << 6 | digit;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_base64() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob\n", "Zm9vYgo=")] {
            assert_eq!(base64(plain.as_bytes()), coded);
            assert_eq!(unbase64(coded).unwrap(), plain.as_bytes());
        }
        assert_eq!(unbase64("Zm#v"), None);
    }

    #[test]
    fn an_answer_is_read_through_noise_or_not_at_all() {
        let digest = Digest::of("hello\n");
        let whole = format!("[ 1.0] usb\r\n@kiln7@l:aGVsbG8K:\r\n[ OK ] noise\r\n@kiln7@e:3:{digest}:\r\n");
        assert_eq!(read(&whole, "@kiln7@"), Some(Answer { status: 3, output: "hello\n".into() }));
        assert_eq!(read(&whole.replace("aGVs", "aGV[ 2.0] usbs"), "@kiln7@"), None);
        assert_eq!(read(&whole.replace("@kiln7@l", "@ki"), "@kiln7@"), None);
        assert_eq!(read(&whole, "@kiln8@"), None);
    }
}
