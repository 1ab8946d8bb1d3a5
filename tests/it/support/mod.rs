//! What integration tests stand on.

pub mod dev;
pub mod faults;
pub mod rig;
pub mod shop;
