//! A server that speaks TLS with a certificate of its own making.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Runs `openssl s_server` (package openssl) on a free port with a certificate that nobody signed.
pub struct Untrusted {
    running: std::process::Child,
    pub address: String,
}

impl Untrusted {
    pub fn start(home: &Path) -> Self {
        let (key, certificate) = (home.join("key.pem"), home.join("certificate.pem"));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"])
            .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()
            .expect("openssl is installed (package openssl)");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let mut command = Command::new("openssl");
        command
            .args(["s_server", "-quiet", "-www", "-accept", &address, "-key"])
            .arg(key)
            .arg("-cert")
            .arg(certificate);
        let running = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while TcpStream::connect(&address).is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { running, address }
    }
}

impl Drop for Untrusted {
    fn drop(&mut self) {
        let _ = self.running.kill();
        let _ = self.running.wait();
    }
}
