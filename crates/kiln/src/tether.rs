//! A kiln that hangs on a pipe: when whoever holds the other end is no more, it stops, however that came.

use std::io;
use std::process;
use std::thread;
use std::time::Duration;

use kiln_model::FaultKind;

/// A kiln that has not stopped by then will not.
const GRACE: Duration = Duration::from_secs(30);

/// From now on the end of standard input is the wish to stop. Call it after [`settings::enter`](crate::settings::enter), which
/// wants a process with one thread.
pub fn hang() {
    thread::spawn(|| {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        kiln_sandbox::cancel();
        thread::sleep(GRACE);
        process::exit(FaultKind::Interrupted.exit_code().into());
    });
}
