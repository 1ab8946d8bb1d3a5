//! The key that runs share places by: how it is checked, and what it comes to for a run.

use super::{Plan, compile::Compiler};
use crate::{
    expression::{Scope, Template},
    facts::Facts,
    trigger,
};
use signoff_api::{
    concurrency::{Concurrency, ConcurrencyScope, ConcurrencyStatus, MAX_KEY, MOST, WhenFull},
    reason::StepReason,
};

/// How many runs with the same key go on at the same time.
#[derive(Clone, Debug)]
pub(crate) struct ConcurrencyPlan {
    key: Template,
    max: i64,
    when_full: WhenFull,
    scope: ConcurrencyScope,
}

/// Compiles the limit of a definition. What is wrong with it goes to the compiler.
pub(super) fn compile(compiler: &mut Compiler<'_>, concurrency: &Concurrency) -> Option<ConcurrencyPlan> {
    let declarations = compiler.environment.declarations_of_key();
    let max = concurrency.max();
    if !(1..=MOST).contains(&max) {
        compiler.mistyped("concurrency.max", format!("{max} is not between 1 and {MOST}"));
    }
    let key = compiler.template("concurrency.key", &concurrency.key, &declarations)?;
    if let Some(literal) = key.as_literal()
        && let Err(message) = fits(literal)
    {
        compiler.mistyped("concurrency.key", message);
    }
    Some(ConcurrencyPlan {
        key,
        max: max.clamp(1, MOST),
        when_full: concurrency.when_full.unwrap_or_default(),
        scope: concurrency.scope.unwrap_or_default(),
    })
}

impl Plan {
    /// The key of a run that gets this release, and what it says of places. None if the flow has no limit.
    ///
    /// # Errors
    /// Why there is no key: an expression has no value, or what it gives is empty or too long.
    pub fn concurrency_of(&self, facts: &Facts) -> Result<Option<ConcurrencyStatus>, (StepReason, String)> {
        let Some(plan) = &self.concurrency else {
            return Ok(None);
        };
        let (run, release) = (&facts.run, &facts.release);
        let mut scope = Scope::default();
        scope
            .set("inputs", self.inputs_as_declared(&run.inputs))
            .set("run", run.as_variable(release))
            .set("release", release.as_variable())
            .set("trigger", trigger::as_variable(run.trigger.as_ref()));
        let failed = |reason, message: String| (reason, format!("concurrency.key: {message}"));
        let key = plan.key.text(&scope);
        let key = key.map_err(|error| failed(error.reason(), error.to_string()))?;
        fits(&key).map_err(|message| failed(StepReason::InvalidKey, message))?;
        Ok(Some(ConcurrencyStatus {
            key,
            scope: plan.scope,
            max: plan.max,
            when_full: plan.when_full,
            held_since: None,
            shares: None,
            position: None,
            position_at: None,
        }))
    }
}

fn fits(key: &str) -> Result<(), String> {
    match key.chars().count() {
        0 => Err("a key is not empty".to_owned()),
        length if length > MAX_KEY => Err(format!("a key has at most {MAX_KEY} characters, not {length}")),
        _ => Ok(()),
    }
}
