//! Decisions: pure, synchronous, no I/O, clock, randomness or async.
//!
//! The heart is [`advance`](advance::advance): `(plan, state, facts, now) → (state', effects, wake_at)`. The state is the run's own
//! status, so a finished run can be replayed from its record. What the world answered comes in as [`facts`]; what is to be done goes
//! out as [`effect`]s, for which the executor has no choices left.

pub mod advance;
pub mod asked;
pub mod callback_body;
pub mod callback_token;
pub mod chat;
pub mod concurrency;
pub mod contents;
pub mod dependencies;
pub mod difference;
pub mod effect;
pub mod events;
pub mod expression;
pub mod facts;
pub mod heartbeat;
pub mod inputs;
pub mod job;
pub mod judge;
mod kinds;
pub mod markdown;
pub mod notification;
pub mod object;
pub mod plan;
pub mod promotion;
pub mod question;
pub mod requesters;
pub mod resolution;
pub mod retention;
pub mod retry;
pub mod retry_after;
pub mod schema;
pub mod spelling;
pub mod trigger;
mod turn;
pub mod work;

#[cfg(test)]
mod tests;
