//! The mirror against real repositories: on disk, over http with real `git http-backend`, over ssh with real `git upload-pack`.

mod disk;
mod fixture;
mod hostile;
mod http;
mod publish;
mod push;
mod remotes;
mod ssh;
