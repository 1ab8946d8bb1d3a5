//! `needs`: which steps must be over, and with what outcomes.

use crate::run::StepOutcome;

/// The name of a step, and maybe the outcomes that will do: `review` or `review.Approved|TimedOut`.
pub const NEED: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[A-Z][A-Za-z]*(\\|[A-Z][A-Za-z]*)*)?$";

/// One entry of `needs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need<'a> {
    /// Name of the step.
    pub step: &'a str,
    /// The outcomes that will do. Without them, every outcome will do with which the run goes on, but not `Omitted`.
    pub outcomes: Option<Vec<StepOutcome>>,
}

/// A word that is no outcome of a step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an outcome of a step")]
pub struct UnknownOutcome(pub String);

impl<'a> Need<'a> {
    /// Reads one entry.
    ///
    /// # Errors
    /// The first word behind the dot that is no outcome.
    pub fn parse(text: &'a str) -> Result<Self, UnknownOutcome> {
        let Some((step, outcomes)) = text.split_once('.') else {
            return Ok(Self {
                step: text,
                outcomes: None,
            });
        };
        let outcomes = outcomes.split('|').map(|word| {
            let known = StepOutcome::ALL
                .iter()
                .find(|outcome| outcome.to_string() == word);
            known.copied().ok_or_else(|| UnknownOutcome(word.to_owned()))
        });
        Ok(Self {
            step,
            outcomes: Some(outcomes.collect::<Result<_, _>>()?),
        })
    }

    /// Name of the step that an entry names, whether or not its outcomes are any.
    pub fn step_of(text: &'a str) -> &'a str {
        text.split_once('.').map_or(text, |(step, _)| step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_stand_behind_a_dot_and_are_those_of_steps() {
        let plain = Need::parse("open-pr").unwrap();
        assert_eq!((plain.step, plain.outcomes), ("open-pr", None));
        let two = Need::parse("ask.Approved|TimedOut").unwrap();
        assert_eq!(
            (two.step, two.outcomes),
            ("ask", Some(vec![StepOutcome::Approved, StepOutcome::TimedOut]))
        );
        for (wrong, word) in [("ask.Aproved", "Aproved"), ("ask.", ""), ("ask.Approved|", "")] {
            assert_eq!(Need::parse(wrong), Err(UnknownOutcome(word.to_owned())));
            assert_eq!(Need::step_of(wrong), "ask");
        }
    }
}
