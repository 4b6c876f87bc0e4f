//! The farm's contract: the types that server, nodes and clients exchange as JSON, the paths they lie under, and a client.
//!
//! OpenAPI is generated from these types (docs/reference/openapi.json). Times are milliseconds since 1970, sizes are bytes.

pub mod access;
pub mod blob;
pub mod build;
pub mod client;
pub mod hook;
pub mod ids;
pub mod log;
pub mod node;
pub mod points;
pub mod problem;
pub mod retention;
pub mod routes;
pub mod schedule;
pub mod secret;
pub mod source;
pub mod stage;
pub mod task;

pub use access::{NewProject, NewToken, NewUser, Project, Role, Scope, Token, User};
pub use blob::Upload;
pub use build::{Build, BuildState, Builds, Stored, Submission};
pub use client::{Client, Error, Trust};
pub use ids::{
    BuildId, DeliveryId, HookId, Name, NodeId, PushId, ScheduleId, SourceId, TaskId, TokenId, UserId, Variable,
};
pub use log::{Entry, FarmEvent, Page, What};
pub use node::{
    Complete, Enrolled, Handed, Holding, Lease, NewNode, Node, NodeState, Orders, Poll, Resources, Taken, Tell,
};
pub use problem::Problem;
pub use retention::{Retention, Swept};
pub use secret::{NewSecret, Secret};
pub use stage::{Kept, StageFound};
pub use task::{Given, Order, Task, TaskState, Work};
