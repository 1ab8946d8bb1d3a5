//! Records of runs that ended: what one says, its signature, who writes it and when, and what becomes of the run then.
//!
//! A record is an in-toto Statement in a DSSE envelope, so that it is verified without us.

mod archive;
pub mod envelope;
mod gather;
pub mod keys;
pub mod read;
mod retention;
mod signer;
pub mod statement;
pub mod verify;
mod write;

pub use self::{
    archive::{Deps, Timing, run},
    signer::RecordKeys,
};
