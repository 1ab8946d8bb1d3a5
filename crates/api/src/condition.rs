//! Conditions per the Kubernetes API conventions: `Ready`, `Reconciling`, `Stalled`; for a Run `Succeeded`.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

use super::text::visible;

/// The object is as its spec says.
pub const READY: &str = "Ready";
/// Work towards the spec is under way (kstatus).
pub const RECONCILING: &str = "Reconciling";
/// Nothing will change until a user acts (kstatus).
pub const STALLED: &str = "Stalled";
/// A run ended well (`True`), ended otherwise (`False`), or goes on (`Unknown`).
pub const SUCCEEDED: &str = "Succeeded";
/// A question is closed, whatever the answer.
pub const DECIDED: &str = "Decided";
/// A question is put where it is to be put; only said of one that could not be.
pub const ASKED: &str = "Asked";

/// Longest message stored in a condition; a longer one is cut at a character boundary.
pub const MAX_MESSAGE: usize = 1_024;

/// A condition's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Not known yet.
    Unknown,
}

impl ConditionStatus {
    /// As the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// Sets a condition, keeping its transition time unless its status changes. What the message quotes of others is made visible.
pub fn set(
    conditions: &mut Vec<Condition>,
    type_: &str,
    truth: ConditionStatus,
    reason: &str,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) {
    let message = visible(message);
    let message: String = match message.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => message[..end].to_owned(),
        None => message.into_owned(),
    };
    let mut next = Condition {
        type_: type_.to_owned(),
        status: truth.as_str().to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: generation,
        last_transition_time: Time(now),
    };
    match conditions.iter_mut().find(|c| c.type_ == type_) {
        Some(current) => {
            if current.status == next.status {
                next.last_transition_time = current.last_transition_time.clone();
            }
            *current = next;
        }
        None => conditions.push(next),
    }
}

/// Says how a run stands: `Succeeded`, and what follows from it for tools that know kstatus. `Reconciling` is `False` once the run has
/// ended, however it did, so that `kubectl wait` ends too. `Stalled` is there if it ended badly.
pub fn set_run(
    conditions: &mut Vec<Condition>,
    succeeded: ConditionStatus,
    reason: &str,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) {
    set(conditions, SUCCEEDED, succeeded, reason, message, generation, now);
    set_reconciling(conditions, succeeded == ConditionStatus::Unknown, generation, now);
    match succeeded {
        ConditionStatus::False => set(
            conditions,
            STALLED,
            ConditionStatus::True,
            reason,
            "",
            generation,
            now,
        ),
        ConditionStatus::True | ConditionStatus::Unknown => clear(conditions, STALLED),
    }
}

/// Says how a question stands: `Decided`, and `Reconciling` (kstatus), which is `False` once it is closed.
pub fn set_question(
    conditions: &mut Vec<Condition>,
    decided: ConditionStatus,
    reason: &str,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) {
    set(conditions, DECIDED, decided, reason, message, generation, now);
    set_reconciling(conditions, decided != ConditionStatus::True, generation, now);
}

fn set_reconciling(conditions: &mut Vec<Condition>, goes_on: bool, generation: Option<i64>, now: Timestamp) {
    let (status, reason) = if goes_on {
        (ConditionStatus::True, "Progressing")
    } else {
        (ConditionStatus::False, "Ended")
    };
    set(conditions, RECONCILING, status, reason, "", generation, now);
}

/// Removes a condition that no longer applies, as `Reconciling` and `Stalled` are when they are over.
pub fn clear(conditions: &mut Vec<Condition>, type_: &str) {
    conditions.retain(|c| c.type_ != type_);
}

/// The condition of this type.
pub fn get<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == type_)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_transition_time_while_the_status_stays() {
        let (t1, t2) = (
            Timestamp::from_second(1).unwrap(),
            Timestamp::from_second(2).unwrap(),
        );
        let mut list = vec![];
        set(
            &mut list,
            READY,
            ConditionStatus::False,
            "Busy",
            "one",
            Some(1),
            t1,
        );
        set(
            &mut list,
            READY,
            ConditionStatus::False,
            "Busy",
            "two",
            Some(2),
            t2,
        );
        assert_eq!(
            (
                list.len(),
                list[0].last_transition_time.0,
                list[0].message.as_str()
            ),
            (1, t1, "two")
        );
        set(&mut list, READY, ConditionStatus::True, "Done", "", Some(2), t2);
        assert_eq!(list[0].last_transition_time.0, t2);
    }

    #[test]
    fn a_message_is_one_line_on_which_all_is_seen() {
        let mut list = vec![];
        let message = "no file a\nb\u{202e}";
        set(
            &mut list,
            READY,
            ConditionStatus::False,
            "Bad",
            message,
            None,
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(list[0].message, r"no file a␊b\u{202e}");
    }

    #[test]
    fn cuts_a_long_message_at_a_character() {
        let mut list = vec![];
        set(
            &mut list,
            READY,
            ConditionStatus::True,
            "Done",
            &"é".repeat(5_000),
            None,
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(list[0].message.chars().count(), MAX_MESSAGE);
    }
}
