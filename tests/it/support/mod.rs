//! What integration tests stand on.

pub mod faults;
pub mod rig;
pub mod shop;
