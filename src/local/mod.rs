//! (see lib.rs for the map)
