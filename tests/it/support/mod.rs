//! What integration tests stand on.

pub mod dev;
pub mod faults;
pub mod real;
pub mod rig;
pub mod server;
pub mod shop;
