//! Signals that end a worker in order.

use tokio::signal::unix::{SignalKind, signal};

use crate::cli::operator::stop_asked;

/// Number of SIGHUP, from 1.
const HANGUP: u32 = 1;

/// Returns when the worker is asked to stop: also when its terminal goes away, unless it was started to outlive that.
pub(super) async fn asked() {
    if is_hangup_ignored() {
        return stop_asked().await;
    }
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        return stop_asked().await;
    };
    tokio::select! {
        () = stop_asked() => {}
        _ = hangup.recv() => {}
    }
}

/// Whether this process was started with `nohup` or alike. Where that cannot be read, it was not.
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (HANGUP - 1)) != 0)
}
