//! What runs do on other machines.

mod commands;
mod connections;
mod processes;
mod walk;
