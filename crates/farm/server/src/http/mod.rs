//! HTTP: who asks, what they may, and the handlers under `/api/v1`.

pub mod access;
pub mod blobs;
pub mod builds;
pub mod caller;
pub mod events;
pub mod gc;
pub mod hooks;
mod limit;
pub mod metrics;
pub mod nodes;
pub mod range;
pub mod repeats;
pub mod router;
pub mod schedules;
pub mod secrets;
pub mod sought;
pub mod sources;
