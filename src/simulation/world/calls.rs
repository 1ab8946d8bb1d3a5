//! Calls of steps, and what the stubs answer.

use serde_json::{Value, json};

use super::{Call, World, of_item};
use crate::simulation::{
    scenario::Crash,
    stubs::{Fate, fate},
};
use signoff_engine::{
    effect::{Call as WantedCall, EffectKey, HttpBody, HttpTarget, Request},
    facts::EffectOutcome,
};

impl World<'_> {
    pub(super) fn call(&mut self, call: WantedCall) {
        let key = call.key;
        if !self.run_mut().facts.in_flight.insert(key.clone()) {
            return;
        }
        let addressed = EffectKey {
            step: format!("{}{}", self.run().prefix, key.step),
            ..key.clone()
        };
        let sent = Call {
            step: addressed.step.clone(),
            pass: key.iteration,
            item: key.item,
            attempt: key.attempt,
            request: request(&call.request),
        };
        let line = format!(
            "{} sends {}",
            of_item(&key.step, key.item),
            in_short(&sent.request)
        );
        match fate(&self.scenario.spec.stubs, &addressed, &mut self.used) {
            None => {
                self.say(&line);
                self.calls.push(sent);
                self.problems.push(format!(
                    "NotStubbed: step {} (pass {}, attempt {}) calls, and no stub says what it is answered",
                    of_item(&addressed.step, key.item),
                    key.iteration,
                    key.attempt
                ));
            }
            Some(Fate::Ends(result)) => {
                self.say(&line);
                self.calls.push(sent);
                let at = self.now;
                let facts = &mut self.run_mut().facts;
                facts.in_flight.remove(&key);
                facts.outcomes.push(EffectOutcome { key, at, result });
            }
            Some(Fate::Crash(crash)) => {
                if crash == Crash::AfterSend {
                    self.say(&line);
                    self.calls.push(sent);
                }
                self.say("the operator is killed and starts again");
                // nothing is under way any more
                for run in &mut self.runs {
                    run.facts.in_flight.clear();
                    run.facts.outcomes.clear();
                }
                self.restarted = true;
            }
        }
    }
}

/// A request as scenarios say it.
fn request(request: &Request) -> Value {
    match request {
        Request::Http(http) => {
            let mut said = json!({ "method": http.method, "headers": http.headers, "query": http.query });
            match &http.target {
                HttpTarget::Url(url) | HttpTarget::PublicUrl(url) => said["url"] = json!(url),
                HttpTarget::Connection { name, path, .. } => {
                    said["connection"] = json!(name);
                    said["path"] = json!(path);
                }
            }
            match &http.body {
                Some(HttpBody::Json(body)) => said["body"] = body.clone(),
                Some(HttpBody::Form(form)) => said["form"] = json!(form),
                Some(HttpBody::Text(text)) => said["text"] = json!(text),
                None => {}
            }
            said
        }
    }
}

fn in_short(request: &Value) -> String {
    let text = |key: &str| request[key].as_str().unwrap_or_default();
    match text("connection") {
        "" => format!("{} {}", text("method"), text("url")),
        connection => format!("{} {connection} {}", text("method"), text("path")),
    }
}
