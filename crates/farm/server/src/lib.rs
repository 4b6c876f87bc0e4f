//! Queue, leases, builds, events, database and web pages of the farm.
