//! When each step ran, as bars on one line of time. Long waits are drawn shorter than they were, and in order all the same.

use k8s_openapi::jiff::Timestamp;

use signoff_api::run::StepStatus;

/// Where a bar begins and how long it is, in hundredths of the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bar {
    pub(super) x: String,
    pub(super) width: String,
}

/// Shortest bar that is seen.
const SHORTEST: f64 = 0.8;

/// The bar of each step, or none if it has not begun in this run.
pub(super) fn bars(steps: &[StepStatus], now: Timestamp) -> Vec<Option<Bar>> {
    let spans: Vec<Option<(Timestamp, Timestamp)>> = steps
        .iter()
        .map(|step| {
            // it ran in an earlier run
            let began = step
                .started_at
                .as_ref()
                .filter(|_| step.taken_over != Some(true))?
                .0;
            let ended = match &step.finished_at {
                Some(at) => at.0,
                None if step.phase.is_finished() => began,
                None => now,
            };
            Some((began, ended.max(began)))
        })
        .collect();
    let mut moments: Vec<Timestamp> = spans
        .iter()
        .flatten()
        .flat_map(|(began, ended)| [*began, *ended])
        .collect();
    moments.sort_unstable();
    moments.dedup();
    // each span between two moments in which something changed, as the logarithm of its seconds
    let mut places = Vec::with_capacity(moments.len());
    let mut at = 0.0;
    for (number, moment) in moments.iter().enumerate() {
        if let Some(before) = number.checked_sub(1).and_then(|before| moments.get(before)) {
            at += moment.duration_since(*before).as_secs_f64().max(0.0).ln_1p();
        }
        places.push((*moment, at));
    }
    let whole = if at > 0.0 { at } else { 1.0 };
    let place = |moment: Timestamp| {
        let found = places.binary_search_by_key(&moment, |(at, _)| *at);
        found.map_or(0.0, |found| places[found].1 / whole * 100.0)
    };
    let bar = |(began, ended)| {
        let x = place(began).min(100.0 - SHORTEST);
        Bar {
            x: format!("{x:.2}"),
            width: format!("{:.2}", (place(ended) - x).max(SHORTEST)),
        }
    };
    spans.into_iter().map(|span| span.map(bar)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn step(began: &str, ended: Option<&str>, more: &Value) -> StepStatus {
        let mut step = json!({"name": "a", "iteration": 1, "phase": "Running", "startedAt": began});
        if let Some(ended) = ended {
            step["finishedAt"] = ended.into();
            step["phase"] = "Succeeded".into();
        }
        for (key, value) in more.as_object().into_iter().flatten() {
            step[key] = value.clone();
        }
        serde_json::from_value(step).unwrap()
    }

    #[test]
    fn bars_follow_one_another_and_a_long_wait_leaves_room_for_the_others() {
        let steps = [
            step(
                "2026-11-23T10:00:00.000000Z",
                Some("2026-11-23T10:00:10.000000Z"),
                &json!({}),
            ),
            step(
                "2026-11-23T10:00:10.000000Z",
                Some("2026-11-26T10:00:10.000000Z"),
                &json!({}),
            ),
            step("2026-11-26T10:00:10.000000Z", None, &json!({})),
            step("2026-11-20T10:00:00.000000Z", None, &json!({"takenOver": true})),
        ];
        let now = "2026-11-26T10:00:20Z".parse().unwrap();
        let drawn = bars(&steps, now);
        assert_eq!(drawn[3], None, "it ran in another run");
        let numbers: Vec<(f64, f64)> = drawn[..3]
            .iter()
            .map(|bar| {
                let bar = bar.as_ref().unwrap();
                (bar.x.parse().unwrap(), bar.width.parse().unwrap())
            })
            .collect();
        assert!(numbers[0].0.abs() < 0.01, "{numbers:?}");
        assert!(numbers[0].1 > 5.0 && numbers[2].1 > 5.0, "{numbers:?}");
        assert!((numbers[0].1 - numbers[1].0).abs() < 0.1, "{numbers:?}");
        assert!((numbers[2].0 + numbers[2].1 - 100.0).abs() < 0.1, "{numbers:?}");
    }

    #[test]
    fn a_step_without_a_length_is_seen_and_clocks_that_go_back_draw_no_nonsense() {
        let now = "2026-11-23T10:00:00Z".parse().unwrap();
        let alone = bars(&[step("2026-11-23T10:00:00.000000Z", None, &json!({}))], now);
        assert_eq!(alone[0].as_ref().unwrap().width, format!("{SHORTEST:.2}"));
        let back = [step(
            "2026-11-23T11:00:00.000000Z",
            Some("2026-11-23T10:00:00.000000Z"),
            &json!({}),
        )];
        let back = bars(&back, now);
        assert_eq!(back[0].as_ref().unwrap().x, "0.00");
        assert!(bars(&[], now).is_empty());
    }
}
