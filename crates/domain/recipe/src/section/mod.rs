//! The sections of a recipe: for each its keys, and how it becomes a part of the spec.

pub mod base;
pub mod boot;
pub mod cloud_init;
pub mod disk;
pub mod division;
pub mod files;
pub mod mender;
pub mod network;
pub mod outputs;
pub mod packages;
pub mod repository;
pub mod scripts;
pub mod secrets;
pub mod services;
pub mod size;
pub mod system;
pub mod users;
pub mod verify;
