//! Reading objects of the API server one by one, so that one that cannot be decoded takes no other with it.
//!
//! Every watch and every list of the controllers goes through here. What is passed over gets an Event, a condition, a line in the log and a count.

mod decoded;
mod list;
mod undecodable;
mod watch;

pub use self::{
    decoded::{Decoded, Kind, Undecodable},
    list::{Listed, list},
    undecodable::PassedOver,
    watch::{watch, watched_briefly},
};
