//! What the server takes for itself: a socket and a pid file, both gone with it.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, Mode, access};

use super::Options;

/// A socket that listens and a pid file that says who does.
pub struct Place {
    pub listener: UnixListener,
    socket: PathBuf,
    pid: PathBuf,
}

/// Looks whether the place can be taken, before anything is changed; the words are Pieman's.
pub fn check(options: &Options) -> Result<(), String> {
    if is_in_use(&options.socket) {
        return Err("Address already in use".into());
    }
    let files = [Some(&options.socket), Some(&options.pid), options.log.as_ref()];
    files.into_iter().flatten().try_for_each(|file| writable(folder(file)))
}

/// A socket nobody listens behind was left by a server that was killed.
fn is_in_use(socket: &Path) -> bool {
    match fs::symlink_metadata(socket) {
        Ok(about) if about.file_type().is_socket() => {
            !UnixStream::connect(socket).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        }
        Ok(_) => true,
        Err(_) => false,
    }
}

/// Nobody else who takes a socket in this folder does so until the returned file is closed.
fn turn(socket: &Path) -> io::Result<fs::File> {
    let folder = fs::File::open(folder(socket))?;
    rustix::fs::flock(&folder, rustix::fs::FlockOperation::LockExclusive)?;
    Ok(folder)
}

fn folder(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn writable(folder: &Path) -> Result<(), String> {
    access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(|_| {
        format!(
            "{} is not writable for the process. Make sure that the directory exists and the process has enough permissions \
             to create files there.",
            folder.display()
        )
    })
}

impl Place {
    pub fn take(options: &Options) -> Result<Self, String> {
        let (socket, pid) = (options.socket.clone(), options.pid.clone());
        let _turn = turn(&socket).map_err(|error| format!("{}: {error}", folder(&socket).display()))?;
        if is_in_use(&socket) {
            return Err("Address already in use".into());
        }
        let _ = fs::remove_file(&socket);
        let listener = bind(&socket, options.mode).map_err(|error| format!("{}: {error}", socket.display()))?;
        let place = Self { listener, socket, pid };
        write_pid(&place.pid).map_err(|error| format!("{}: {error}", place.pid.display()))?;
        Ok(place)
    }
}

/// Binds so that nobody can connect before the mode is as it shall be.
fn bind(socket: &Path, mode: u32) -> io::Result<UnixListener> {
    let before = rustix::process::umask(Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(socket);
    rustix::process::umask(before);
    let listener = bound?;
    fs::set_permissions(socket, fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

/// Pieman waits for this file, so it appears whole.
fn write_pid(path: &Path) -> io::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    fs::write(&partial, format!("{}\n", std::process::id()))?;
    fs::set_permissions(&partial, fs::Permissions::from_mode(0o644))?;
    fs::rename(&partial, path)
}

impl Drop for Place {
    fn drop(&mut self) {
        // Not while a successor takes them.
        let _turn = turn(&self.socket);
        let _ = fs::remove_file(&self.socket);
        let _ = fs::remove_file(&self.pid);
    }
}
