//! The threads: each takes the next archive that is there.

use std::num::NonZero;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::thread;

use kiln_model::Fault;
use kiln_model::action::PackageRef;

use super::Arrival;
use super::handles::Handles;
use super::package::{Done, unpack};
use super::shared::Shared;

/// Unpacks everything that `packages` yields; the first fault ends it.
pub fn run<I>(packages: I, shared: &Shared, progress: &(dyn Fn(&PackageRef) + Sync)) -> Result<Vec<Done>, Fault>
where
    I: Iterator<Item = Result<Arrival, Fault>> + Send,
{
    let threads = NonZero::new(shared.options.threads).map_or(1, NonZero::get);
    let (packages, done, fault) = (Mutex::new(packages), Mutex::new(Vec::new()), Mutex::new(None));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let result = work(&packages, shared, &done, progress);
                if let Err(met) = result {
                    shared.stop.store(true, Ordering::Relaxed);
                    fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(met);
                }
            });
        }
    });
    match fault.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(fault) => Err(fault),
        None => Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner)),
    }
}

fn work<I>(
    packages: &Mutex<I>,
    shared: &Shared,
    done: &Mutex<Vec<Done>>,
    progress: &(dyn Fn(&PackageRef) + Sync),
) -> Result<(), Fault>
where
    I: Iterator<Item = Result<Arrival, Fault>>,
{
    let mut handles = Handles::new(shared);
    while let Some(arrival) = next(packages, shared) {
        let arrival = arrival?;
        let package = arrival.package.clone();
        let one = unpack(shared, &mut handles, arrival)
            .map_err(|error| Fault::from(error).doing(format!("unpack `{} {}`", package.name, package.version)))?;
        done.lock().unwrap_or_else(PoisonError::into_inner).push(one);
        progress(&package);
    }
    Ok(())
}

fn next<I: Iterator>(packages: &Mutex<I>, shared: &Shared) -> Option<I::Item> {
    if shared.stopped() { None } else { packages.lock().unwrap_or_else(PoisonError::into_inner).next() }
}
