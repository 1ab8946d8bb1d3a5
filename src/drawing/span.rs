//! Times between two moments.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::MicroTime, jiff::Timestamp};

/// The time between two moments, after a sign that says from where it counts.
pub(crate) fn since(sign: &str, from: Option<Timestamp>, to: Option<&MicroTime>) -> String {
    let (Some(from), Some(to)) = (from, to) else {
        return String::new();
    };
    let seconds = to.0.duration_since(from).as_secs_f64();
    if seconds < 1.0 {
        format!("{sign}{:.1} ms", seconds * 1_000.0)
    } else if seconds < 120.0 {
        format!("{sign}{seconds:.1} s")
    } else if seconds < 7_200.0 {
        format!("{sign}{:.0} min", seconds / 60.0)
    } else {
        format!("{sign}{:.1} h", seconds / 3_600.0)
    }
}
