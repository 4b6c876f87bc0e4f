//! Leases, runs, uploads and reports the tasks of a farm.
