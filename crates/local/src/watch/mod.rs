//! Watches: each one reads the store's history from where it is, and sleeps until the next change. A slow
//! one holds nobody up; when it falls out of the history it is told so and ends.

mod stream;

pub use stream::{Start, Wanted, Watch};
