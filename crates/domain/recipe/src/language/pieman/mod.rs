//! Pieman's parameters as a recipe language: an environment and a `.env` in, the tree of a recipe out.
//!
//! [`declare`] reads the parameters, [`check`] holds them against Pieman's rules in Pieman's order, [`order`] makes a recipe of
//! them. What is wrong is said in Pieman's words first and explained after that, at its place in `.env` or the environment.

mod declare;
mod devices;
mod dotenv;
mod hooks;
mod pair;
mod preprocess;
mod rules;
pub(crate) mod sheets;
mod system;
mod table;
mod translate;
mod tree;
mod yaml;

pub use declare::{Given, Parameters, Person, declare};
pub use devices::devices;
pub use pair::{HookFile, PairFiles, folder as pair_folder};
pub use rules::{check, owner};
pub use sheets::Refused;
pub use system::pieces;
pub use table::{is_parameter, reference};
pub use translate::{Made, Order, Place, Surroundings, order};
