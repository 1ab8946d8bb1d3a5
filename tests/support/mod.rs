//! What the test programs of this folder share: servers, operators, people and services, and how to wait for them.

pub mod controlplane;
pub mod dev;
pub mod draw;
pub mod faults;
pub mod hands;
pub mod local;
pub mod processes;
pub mod real;
pub mod requests;
pub mod rig;
pub mod server;
pub mod shop;
pub mod world;
