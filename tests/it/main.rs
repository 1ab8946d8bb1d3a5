//! Integration tests, one module per subject.

mod chart;
mod controlplane;
mod local_objects;
mod local_server;
mod local_support;
mod local_watch;
