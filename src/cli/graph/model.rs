//! What is drawn of a flow and of a run: steps with what they do, links between them, loops.

use serde::Serialize;
use signoff_api::{
    Definition, OrExpression, RunStatus, Step, StepKind,
    name::ObjectName,
    run::{StepError, StepOutcome, StepPhase, StepStatus},
    step::{
        ApprovalStep, ApproversTemplate, EndOutcome, EndStep, FailureOutcome, HttpMethod, HttpStep, Need,
        NotifyStep, NotifyWebhook, WaitStep,
    },
};

use super::layout::Link;
use crate::cli::timeline::since;

/// A flow, and what a run of it did.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Graph {
    /// What is drawn, such as `Flow refund`.
    pub(super) title: String,
    /// The steps, then those of `finally`.
    pub(super) steps: Vec<DrawnStep>,
    pub(super) loops: Vec<Loop>,
    /// Whether the steps say by `needs` what comes before them.
    #[serde(skip)]
    pub(super) has_needs: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DrawnStep {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) is_approval: bool,
    pub(super) is_finally: bool,
    /// What it does, in a few words.
    pub(super) about: String,
    pub(super) needs: Vec<DrawnNeed>,
    /// What else there is to know, a line each.
    pub(super) notes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) run: Option<Progress>,
}

/// A step that comes before.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DrawnNeed {
    pub(super) step: String,
    /// The outcomes that will do; empty for all with which the run goes on.
    pub(super) outcomes: Vec<String>,
    #[serde(skip)]
    pub(super) index: Option<usize>,
}

/// Steps that are done again.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Loop {
    #[serde(skip)]
    pub(super) first: usize,
    #[serde(skip)]
    pub(super) last: usize,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) about: String,
}

/// What a run did with a step.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Progress {
    /// Its outcome, or its phase while it has none.
    pub(super) state: String,
    #[serde(skip)]
    pub(super) tone: Tone,
    pub(super) passes: i64,
    pub(super) attempts: i64,
    /// When it began, counted from the beginning of the run.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) began: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) took: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) by: Vec<String>,
    /// What it waits for, or why it failed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) why: String,
}

/// How a state is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// It ended, and the run went on.
    Good,
    /// It ended the run badly.
    Bad,
    /// It is under way.
    Active,
    /// It did nothing.
    Idle,
}

impl Progress {
    /// The state with how often and how long.
    pub(super) fn line(&self) -> String {
        let mut parts = vec![self.state.clone()];
        parts.extend((self.passes > 1).then(|| format!("pass {}", self.passes)));
        parts.extend((self.attempts > 1).then(|| format!("attempt {}", self.attempts)));
        parts.extend((!self.by.is_empty()).then(|| format!("by {}", self.by.join(", "))));
        parts.extend((!self.began.is_empty()).then(|| self.began.clone()));
        parts.extend((!self.took.is_empty()).then(|| format!("took {}", self.took)));
        parts.join(", ")
    }
}

impl Graph {
    /// Of a flow, or of a run of it.
    pub(super) fn of(title: String, definition: &Definition, run: Option<&RunStatus>) -> Self {
        let main = &definition.steps;
        let has_needs = main.iter().any(|step| step.needs.is_some());
        let steps = main.iter().enumerate().map(|(i, step)| {
            let needs = needs(main, i, has_needs);
            drawn(step, false, needs, run)
        });
        let last = definition.finally.iter().flatten();
        let last = last.map(|step| drawn(step, true, vec![], run));
        Self {
            title,
            steps: steps.chain(last).collect(),
            loops: loops(main),
            has_needs,
        }
    }

    /// How many steps there are before those of `finally`.
    pub(super) fn main(&self) -> usize {
        self.steps.iter().filter(|step| !step.is_finally).count()
    }

    /// The links between the steps before `finally`, each once.
    pub(super) fn links(&self) -> Vec<Link> {
        let steps = self.steps.iter().enumerate();
        let mut links: Vec<Link> = steps
            .flat_map(|(to, step)| {
                step.needs.iter().filter_map(move |need| {
                    Some(Link {
                        from: need.index?,
                        to,
                    })
                })
            })
            .collect();
        links.sort_unstable();
        links.dedup();
        links
    }

    /// The outcomes that a link asks for, as a label.
    pub(super) fn label(&self, link: Link) -> String {
        let needs = self.steps[link.to].needs.iter();
        let of_link = needs.filter(|need| need.index == Some(link.from));
        let outcomes = of_link.flat_map(|need| need.outcomes.iter().map(String::as_str));
        outcomes.collect::<Vec<_>>().join(" or ")
    }
}

/// The steps before one. A name that leads nowhere is kept without its place.
fn needs(steps: &[Step], i: usize, has_needs: bool) -> Vec<DrawnNeed> {
    if !has_needs {
        let before = i.checked_sub(1);
        return before
            .map(|index| DrawnNeed {
                step: steps[index].name.clone(),
                outcomes: vec![],
                index: Some(index),
            })
            .into_iter()
            .collect();
    }
    let all = steps[i].needs.iter().flatten();
    all.map(|text| {
        let name = Need::step_of(text);
        let outcomes = text.split_once('.').map_or("", |(_, outcomes)| outcomes);
        let outcomes = outcomes.split('|').filter(|outcome| !outcome.is_empty());
        DrawnNeed {
            step: name.to_owned(),
            outcomes: outcomes.map(str::to_owned).collect(),
            index: steps.iter().position(|step| step.name == name),
        }
    })
    .collect()
}

fn drawn(step: &Step, is_finally: bool, needs: Vec<DrawnNeed>, run: Option<&RunStatus>) -> DrawnStep {
    DrawnStep {
        name: step.name.clone(),
        kind: step.kind.rules().key,
        is_approval: step.kind.as_kind().question().is_some(),
        is_finally,
        about: about(&step.kind),
        needs,
        notes: notes(step),
        run: run.map(|run| progress(step, run)),
    }
}

/// What a step does.
fn about(kind: &StepKind) -> String {
    match kind {
        StepKind::Http(step) => http(step),
        StepKind::Set(step) => step.0.keys().cloned().collect::<Vec<_>>().join(", "),
        StepKind::Wait(step) => wait(step),
        StepKind::Approval(step) => step.title.clone(),
        StepKind::Notify(step) => match &**step {
            NotifyStep::Webhook(NotifyWebhook {
                url,
                connection,
                path,
                message: _,
            }) => target(url.as_ref(), connection.as_ref(), path.as_ref()),
            NotifyStep::Slack(slack) => format!("{} through {}", slack.channel, slack.connection),
            NotifyStep::Email(email) => {
                format!("mail to {} through {}", email.to.join(", "), email.connection)
            }
            NotifyStep::Teams(teams) => format!("message through {}", teams.connection),
            NotifyStep::Discord(discord) => format!("message through {}", discord.connection),
            NotifyStep::CloudEvent(event) => format!("{} through {}", event.type_, event.connection),
        },
        StepKind::Ssh(step) => {
            let host = step.host.as_ref().map(|host| format!(" on {host}"));
            format!(
                "{}{} through {}",
                step.command,
                host.unwrap_or_default(),
                step.connection
            )
        }
        StepKind::Llm(step) => format!("asks {} through {}", step.model, step.connection),
        StepKind::Git(step) => {
            let name = step.repository.as_ref().or(step.connection.as_ref());
            let name = name.map(|name| format!(" of {name}")).unwrap_or_default();
            let pull = step.pull_request.as_ref();
            let pull = pull.map(|pull| format!(", pull request into {}", pull.into));
            format!("branch {}{name}{}", step.branch, pull.unwrap_or_default())
        }
        StepKind::Store(step) => match (&step.get, &step.put) {
            (Some(name), _) => format!("reads {name}"),
            (None, Some(name)) => format!("writes {name}"),
            (None, None) => String::new(),
        },
        StepKind::Task(step) => format!("a worker of queue {}", step.queue),
        StepKind::Job(step) => format!("runs {}", step.image),
        StepKind::Agent(step) => {
            let tools: Vec<&str> = step.tools.iter().map(|tool| tool.name.as_str()).collect();
            format!("lets {} use {}", step.model, tools.join(", "))
        }
        StepKind::Flow(step) => {
            let then = if step.is_detached() {
                ", and does not wait for it"
            } else {
                ""
            };
            format!("runs flow {}{then}", step.name)
        }
        StepKind::End(step) => end(step),
    }
}

fn http(step: &HttpStep) -> String {
    let has_content = step.body.is_some() || step.form.is_some() || step.text.is_some();
    let default = if has_content {
        HttpMethod::Post
    } else {
        HttpMethod::Get
    };
    let method = step.method.unwrap_or(default);
    let target = target(step.url.as_ref(), step.connection.as_ref(), step.path.as_ref());
    format!("{method} {target}")
}

fn target(url: Option<&String>, connection: Option<&ObjectName>, path: Option<&String>) -> String {
    match (url, connection) {
        (Some(url), _) => url.clone(),
        (None, Some(connection)) => format!("{connection}: {}", path.map_or("/", String::as_str)),
        (None, None) => String::new(),
    }
}

fn wait(step: &WaitStep) -> String {
    let callback = step.callback.as_ref().map(|_| "for a callback".to_owned());
    let duration = step.duration.as_ref().map(|duration| format!("for {duration}"));
    let until = step.until.as_ref().map(|until| format!("until {until}"));
    let all = callback.into_iter().chain(duration).chain(until);
    let mut told = all.collect::<Vec<_>>().join(", or ");
    if let Some(within) = &step.respond_within {
        told = format!("{told}, at most {within}");
    }
    told
}

fn end(step: &EndStep) -> String {
    let outcome = match step.outcome {
        EndOutcome::Succeeded => "the run succeeds",
        EndOutcome::Failed => "the run fails",
    };
    match &step.message {
        Some(message) => format!("{outcome}: {message}"),
        None => outcome.to_owned(),
    }
}

fn notes(step: &Step) -> Vec<String> {
    let mut notes = Vec::new();
    notes.extend(step.when.as_ref().map(|when| format!("when {when}")));
    if let Some(for_each) = &step.for_each {
        let items = match for_each.items.as_value() {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        notes.push(format!("for each of {items}, {} at a time", for_each.parallel()));
        if for_each.on_item_failure == Some(FailureOutcome::Continue) {
            notes.push("goes on with the other items if one fails".to_owned());
        }
    }
    if let Some(question) = step.kind.as_kind().question() {
        notes.extend(asked(question));
    }
    for outcome in step.kind.as_kind().outcomes() {
        match outcome {
            StepOutcome::Rejected => notes.push("goes on if people reject".to_owned()),
            StepOutcome::TimedOut => notes.push("goes on if nobody answers in time".to_owned()),
            StepOutcome::Succeeded
            | StepOutcome::Failed
            | StepOutcome::Skipped
            | StepOutcome::Omitted
            | StepOutcome::Approved
            | StepOutcome::ChangesRequested
            | StepOutcome::Callback
            | StepOutcome::Event
            | StepOutcome::Elapsed
            | StepOutcome::Cancelled => {}
        }
    }
    notes.extend(
        step.continues_after_failure()
            .then(|| "goes on if it fails".to_owned()),
    );
    let attempts = step.retry.as_ref().map(|retry| retry.attempts);
    let attempts = attempts.filter(|attempts| *attempts > 1);
    notes.extend(attempts.map(|attempts| format!("at most {attempts} attempts")));
    let once = step.delivery == Some(signoff_api::step::Delivery::AtMostOnce);
    notes.extend(once.then(|| "never sent twice".to_owned()));
    notes
}

/// Who is asked, and how long.
fn asked(step: &ApprovalStep) -> Vec<String> {
    let quorum = step
        .quorum
        .as_ref()
        .map_or("1".to_owned(), OrExpression::to_string);
    let of = step.approvers.as_ref().map(approvers).unwrap_or_default();
    let of = if of.is_empty() { "all who may" } else { &of };
    let mut lines = vec![format!("{quorum} must approve, of {of}")];
    lines.extend(
        step.respond_within
            .as_ref()
            .map(|within| format!("within {within}")),
    );
    lines.extend(
        step.escalate
            .iter()
            .flatten()
            .map(|escalation| format!("after {} also {}", escalation.after, approvers(&escalation.to))),
    );
    lines
}

fn approvers(approvers: &ApproversTemplate) -> String {
    let ApproversTemplate {
        users,
        groups,
        exclude,
        service_accounts,
    } = approvers;
    let listed =
        |what: &str, names: &[String]| (!names.is_empty()).then(|| format!("{what} {}", names.join(", ")));
    let parts = [
        listed("users", users),
        listed("groups", groups),
        listed("service accounts", service_accounts),
        listed("nobody of", exclude),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn loops(steps: &[Step]) -> Vec<Loop> {
    let position = |name: &str| steps.iter().position(|step| step.name == name);
    let one = |first: Option<usize>, last: usize, about: String| {
        let first = first?;
        Some(Loop {
            first,
            last,
            from: steps[last].name.clone(),
            to: steps[first].name.clone(),
            about,
        })
    };
    let of_step = |(last, step): (usize, &Step)| {
        let repeat = step.repeat.as_ref().and_then(|repeat| {
            let condition = match (&repeat.until, &repeat.while_) {
                (Some(until), _) => format!("until {until}"),
                (None, Some(while_)) => format!("while {while_}"),
                (None, None) => String::new(),
            };
            let every = repeat.every.as_ref().map(|every| format!(", every {every}"));
            let most = repeat.max.unwrap_or(100);
            let about = format!("{condition}{}, at most {most} passes", every.unwrap_or_default());
            let from = repeat.from.as_deref().map_or(Some(last), position);
            one(from, last, about)
        });
        let question = step.kind.as_kind().question();
        let changes = question.and_then(|question| question.changes.as_ref());
        let changes = changes.and_then(|changes| {
            let most = changes.max.unwrap_or(3);
            let about = format!("if changes are requested, at most {most} times");
            one(position(&changes.back_to), last, about)
        });
        repeat.into_iter().chain(changes).collect::<Vec<_>>()
    };
    steps.iter().enumerate().flat_map(of_step).collect()
}

fn progress(step: &Step, run: &RunStatus) -> Progress {
    let of_step = run.steps.iter().rev();
    let newest = of_step
        .filter(|entry| entry.name == step.name && entry.item.is_none())
        .max_by_key(|entry| entry.iteration);
    let Some(entry) = newest else {
        let state = if run.phase.is_finished() {
            "never began"
        } else {
            "not yet"
        };
        return Progress {
            state: state.to_owned(),
            tone: Tone::Idle,
            passes: 0,
            attempts: 0,
            began: String::new(),
            took: String::new(),
            by: vec![],
            why: String::new(),
        };
    };
    let began = run.started_at.as_ref().map(|time| time.0);
    Progress {
        state: entry
            .outcome
            .map_or_else(|| format!("{:?}", entry.phase), |outcome| outcome.to_string()),
        tone: tone(entry),
        passes: entry.iteration,
        attempts: entry.attempt,
        began: since("+", began, entry.started_at.as_ref()),
        took: since(
            "",
            entry.started_at.as_ref().map(|time| time.0),
            entry.finished_at.as_ref(),
        ),
        by: entry
            .decision
            .as_ref()
            .map(|decision| decision.by.clone())
            .unwrap_or_default(),
        why: why(entry),
    }
}

fn tone(entry: &StepStatus) -> Tone {
    match entry.phase {
        StepPhase::Running | StepPhase::Retrying | StepPhase::Waiting => Tone::Active,
        StepPhase::Succeeded => Tone::Good,
        StepPhase::Failed => Tone::Bad,
        StepPhase::Skipped | StepPhase::Omitted | StepPhase::Cancelled => Tone::Idle,
    }
}

/// What a step waits for, what came of its items, or why it failed.
fn why(entry: &StepStatus) -> String {
    let error = |error: &StepError| format!("{}: {}", error.reason, error.message);
    let items = entry.items.as_ref().map(|items| {
        let ended = items.ended.iter();
        let ended = ended.map(|ended| format!("{} {}", ended.items.len(), ended.outcome));
        format!("{} items: {}", items.count, ended.collect::<Vec<_>>().join(", "))
    });
    let error = entry.error.as_ref().map(error);
    let waits = entry.waiting_on.clone();
    items
        .into_iter()
        .chain(waits)
        .chain(error)
        .collect::<Vec<_>>()
        .join("; ")
}
