//! Effects: one executor per step kind that touches the world. An executor chooses nothing; it performs what it is told and says
//! what came of it.

pub mod http;
