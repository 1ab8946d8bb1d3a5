//! The API server's own clock, which deadlines follow.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use bytes::Bytes;
use http::{HeaderMap, Request, header::DATE};
use k8s_openapi::jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use kube::Client;

/// What clocks may differ by before this process follows the API server's: a header's resolution, and what clocks that are kept in time
/// differ by.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(1);
/// An answer that took longer says too little about when it was given.
const LONGEST_ANSWER: SignedDuration = SignedDuration::from_secs(2);

/// Why the server's time is not known.
#[derive(Debug, thiserror::Error)]
pub enum ServerTimeError {
    /// The API server did not answer.
    #[error("the API server did not answer when asked for its time")]
    Unanswered(#[source] kube::Error),
    /// It answered without a readable `Date` header.
    #[error("the API server's answer has no readable Date header")]
    NoDate,
}

/// What the API server's clock says now, in whole seconds: the `Date` header (RFC 9110 §6.6.1) of `/version`, which every
/// authenticated user may read. The true time is between this and one second later.
pub async fn server_time(client: &Client) -> Result<Timestamp, ServerTimeError> {
    let request = Request::get("/version")
        .body(Bytes::new().into())
        .map_err(|_| ServerTimeError::NoDate)?;
    let response = client.send(request).await.map_err(ServerTimeError::Unanswered)?;
    date(response.headers()).ok_or(ServerTimeError::NoDate)
}

fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(DATE)?.to_str().ok()?;
    // an HTTP date says GMT, which RFC 2822 calls an obsolete zone and the parser accepts
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

/// How far this process's clock is from the API server's, as the answers that pass by show it. Clones are handles on the same.
#[derive(Clone, Debug, Default)]
pub struct Skew(Arc<AtomicI64>);

impl Skew {
    /// What to add to this process's time, in whole microseconds; nothing while the clocks agree.
    pub fn correction(&self) -> SignedDuration {
        SignedDuration::from_micros(self.0.load(Ordering::Relaxed))
    }

    /// Takes in an answer to a request that was sent and answered at these times of this process's own clock.
    pub fn observe(&self, sent: Timestamp, answered: Timestamp, headers: &HeaderMap) {
        let Some(date) = date(headers) else { return };
        if answered.duration_since(sent) > LONGEST_ANSWER {
            return;
        }
        let least = date.duration_since(answered);
        let most = date.duration_since(sent) + SignedDuration::from_secs(1);
        let known = self.correction();
        if known >= least - TOLERANCE && known <= most + TOLERANCE {
            return;
        }
        let correction = (least + most) / 2;
        tracing::warn!(
            seconds = correction.as_secs_f64(),
            "this clock is off from the API server's, which deadlines follow; it is corrected for"
        );
        let micros = i64::try_from(correction.as_micros()).unwrap_or_default();
        self.0.store(micros, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn dated(second: i64) -> HeaderMap {
        let text = rfc2822::DateTimePrinter::new()
            .timestamp_to_rfc9110_string(&at(second))
            .unwrap();
        HeaderMap::from_iter([(DATE, text.parse().unwrap())])
    }

    #[test]
    fn clocks_that_agree_are_left_alone() {
        let skew = Skew::default();
        for second in [-1, 0, 1] {
            skew.observe(at(0), at(0), &dated(second));
            assert_eq!(skew.correction(), SignedDuration::ZERO, "{second}");
        }
    }

    #[test]
    fn a_clock_that_is_off_is_corrected_to_within_a_second_and_back() {
        let skew = Skew::default();
        skew.observe(at(3_600), at(3_600), &dated(0));
        let corrected = at(3_600) + skew.correction();
        assert!(corrected.duration_since(at(0)).abs() <= SignedDuration::from_secs(1));
        // the clock is set right
        skew.observe(at(10), at(10), &dated(10));
        assert!(skew.correction().abs() <= SignedDuration::from_secs(1));
    }

    #[test]
    fn an_answer_that_took_long_or_has_no_date_says_nothing() {
        let skew = Skew::default();
        skew.observe(at(0), at(30), &dated(3_600));
        skew.observe(at(0), at(0), &HeaderMap::new());
        assert_eq!(skew.correction(), SignedDuration::ZERO);
    }
}
