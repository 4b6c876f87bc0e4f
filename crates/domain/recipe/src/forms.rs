//! What texts of a recipe must look like. The catalogue's own words are in [`crate::catalogue`].

mod account;
mod network;
mod packages;
mod plain;
mod size;
mod time;
mod units;

pub use account::*;
pub use network::*;
pub use packages::*;
pub use plain::*;
pub use size::*;
pub use time::*;
pub use units::*;

use crate::shape::Wrong;

/// Returns the complaint unless `fine`.
fn expect(fine: bool, wrong: impl FnOnce() -> Wrong) -> Result<(), Wrong> {
    if fine { Ok(()) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::Form;

    /// Form, texts that have it, texts that do not.
    type Row = (&'static Form, &'static [&'static str], &'static [&'static str]);

    static ROWS: &[Row] = &[
        (&NAME, &["debian-minimal", "a", "x_1.2"], &["", "a/b", ".a", "ä"]),
        (&HOSTNAME, &["edge", "edge-1.example.org", "1a"], &["", "-a", "a-", "a_b", "a..b", "Ärger"]),
        (
            &PACKAGE,
            &["vim", "libc6:arm64", "vim=2:9.0-1~x", "vim/sid", "ssh-server^", "g++"],
            &["", "Vim", "v", "a b", "-vim"],
        ),
        (&PACKAGE_NAME, &["vim"], &["vim=1", "vim/sid"]),
        (
            &LOCALE,
            &["C.UTF-8", "de_DE.UTF-8", "C", "ca_ES.UTF-8@valencia", "POSIX"],
            &["de_DE", "german", "de_DE.utf8"],
        ),
        (&TIMEZONE, &["Etc/UTC", "Europe/Berlin", "UTC"], &["Berlin", "Europe/Berlinn", "europe/berlin"]),
        (&KEYBOARD_LAYOUT, &["de", "us"], &["german", "de-latin1"]),
        (&USER, &["pi", "_apt", "web-data", "root"], &["", "1a", "Pi", "a:b"]),
        (&SSH_KEY, &[ED25519], &["ssh-ed25519", "AAAA", "ssh-ed25519 AAAAB3NzaC1yc2E="]),
        (&ADDRESS, &["192.0.2.2/24", "2001:db8::1/64"], &["192.0.2.2", "192.0.2.2/33", "x/24"]),
        (&IP, &["192.0.2.1", "2001:db8::53"], &["192.0.2", "dns.example.org"]),
        (&INTERFACE, &["en*", "eth0", "wlan0"], &["", "a b", "a-very-long-name-indeed"]),
        (&UNIT, &["ssh.service", "getty@tty1.service", "ssh"], &["", "a b", "ssh.servcie"]),
        (&MODE, &["0644", "755", "4755"], &["0888", "rw-r--r--", "99999"]),
        (&SIZE, &["4GiB", "500 MiB", "0.5GiB", "1000000"], &["", "4G", "four", "GiB", "-1MiB"]),
        (&SIZE_OR_AUTO, &["auto", "1MiB"], &["automatic"]),
        (&DURATION, &["90s", "5min", "1h"], &["", "5", "5m", "soon"]),
        (&SNAPSHOT, &["20260101T000000Z", "2026-01-01"], &["2026-13-01", "2026-02-30", "yesterday", "20260101"]),
        (
            &URI,
            &["http://ftp.debian.org/debian", "file:///srv/debian", "http://h/a@b", "file:///a@b"],
            &["ftp.debian.org", "gopher://x/y", "http://", "https://user:word@host/debian", "http://user@host"],
        ),
        (&GUEST_PATH, &["/etc/motd"], &["etc/motd", "/../x", "/"]),
        (&MACHINE_ID, &["first-boot", "0123456789abcdef0123456789abcdef"], &["0123", "random"]),
        (
            &PASSWORD_HASH,
            &[SHA512, "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7"],
            &["secret", "$1$ab$cdefghijklmnopqrstuvwx", "$6$salt$short", ""],
        ),
        (&FINGERPRINT, &["4CB50190207B4758A3F73A796ED0E7B82643E131"], &["4CB5", "zz"]),
        (&COUNTRY, &["DE"], &["de", "Germany"]),
        (&SSID, &["home"], &["", "an ssid of more than thirty-two bytes"]),
    ];

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g me@here";
    const SHA512: &str =
        "$6$saltsalt$qFmFH.bQmmtXzyBY0s9v7Oicd2z4XSIecDzlB5KiA2/jctKu9YterLp8wwnSq.qc.eoxqOmSuNp2xS0ktL3nh/";

    #[test]
    fn texts_have_their_form_or_not() {
        for (form, good, bad) in ROWS {
            for text in *good {
                assert_eq!((form.check)(text), Ok(()), "{} `{text}`", form.what);
            }
            for text in *bad {
                assert!((form.check)(text).is_err(), "{} `{text}`", form.what);
            }
        }
    }
}
