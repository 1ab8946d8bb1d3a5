//! Pure: what is said beside the commits that a Repository was read at.

use kube::ResourceExt as _;

use crate::{
    api::{
        Flow, Repository, RepositoryStatus,
        flow::{DefinitionProblem, PromotionPhase},
        names,
        release::ReleaseSource,
        repository::FileProblem,
    },
    forge::{CommitState, CommitStatus},
    git::CommitId,
};

/// What the forge calls the status that tells of releases, or of errors.
pub(super) const FLOWS: &str = "signoff/flows";
/// What the forge calls the status that tells what is live.
const LIVE: &str = "signoff/live";

/// The statuses of the commits that a Repository was last read at, in the order of its refs.
pub(super) fn of_repository(repository: &Repository, flows: &[&Flow]) -> Vec<(CommitId, CommitStatus)> {
    let Some(status) = &repository.status else {
        return Vec::new();
    };
    let mut said = Vec::new();
    if let Some(draft) = status
        .draft
        .as_ref()
        .and_then(|draft| CommitId::parse(&draft.commit))
    {
        let (state, description) = of_draft(draft, status, flows);
        said.push((draft, shown(FLOWS, state, description)));
    }
    if let Some(live) = status
        .live
        .as_ref()
        .and_then(|live| CommitId::parse(&live.commit))
    {
        let (state, description) = of_live(flows);
        said.push((live, shown(LIVE, state, description)));
    }
    said
}

pub(super) fn shown(context: &str, state: CommitState, description: String) -> CommitStatus {
    CommitStatus {
        context: context.to_owned(),
        state,
        description,
        target: None,
    }
}

fn of_draft(commit: CommitId, status: &RepositoryStatus, flows: &[&Flow]) -> (CommitState, String) {
    if let Some(first) = status.problems.first() {
        let more = status.problems.len() - 1;
        return (CommitState::Failure, and_more(of_file(first), more));
    }
    let broken: Vec<(&Flow, &DefinitionProblem)> = flows
        .iter()
        .filter_map(|flow| Some((*flow, flow.status.as_ref()?.problems.first()?)))
        .collect();
    if let Some((flow, problem)) = broken.first() {
        let first = format!("{}: {}", flow.name_any(), problem.message);
        return (CommitState::Failure, and_more(first, broken.len() - 1));
    }
    if !flows.iter().all(|flow| is_cut(flow)) {
        return (CommitState::Pending, "cutting releases".to_owned());
    }
    let cut: Vec<&str> = flows
        .iter()
        .filter(|flow| source(flow).and_then(|source| source.commit) == Some(commit.to_string()))
        .filter_map(|flow| Some(flow.status.as_ref()?.draft.as_ref()?.release.as_str()))
        .collect();
    let unchanged = flows.len() - cut.len();
    let text = match (cut.is_empty(), unchanged) {
        (true, 0) => "no flows".to_owned(),
        (true, unchanged) => format!("nothing cut; {unchanged} unchanged"),
        (false, 0) => format!("cut {}", cut.join(", ")),
        (false, unchanged) => format!("cut {}; {unchanged} unchanged", cut.join(", ")),
    };
    (CommitState::Success, text)
}

fn of_live(flows: &[&Flow]) -> (CommitState, String) {
    let (mut refused, mut waiting, mut behind, mut live) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for flow in flows {
        let Some(wanted) = flow.spec.live.as_deref() else {
            continue;
        };
        let status = flow.status.as_ref();
        if status.and_then(|status| status.live.as_deref()) == Some(wanted) {
            live.push(wanted);
            continue;
        }
        let asked = status.and_then(|status| status.promotion.as_ref());
        match asked.filter(|promotion| promotion.release == wanted) {
            Some(promotion) => match promotion.phase {
                PromotionPhase::Waiting => {
                    let approval = promotion.approval.as_deref().unwrap_or("approval");
                    waiting.push(format!("{wanted} waits for {approval}"));
                }
                PromotionPhase::Rejected => refused.push(format!("{wanted} was rejected")),
                PromotionPhase::TimedOut => refused.push(format!("nobody approved {wanted} in time")),
                PromotionPhase::Promoted => behind.push(wanted),
            },
            None => behind.push(wanted),
        }
    }
    let told = |list: Vec<String>| {
        let more = list.len().saturating_sub(1);
        list.into_iter().next().map(|first| and_more(first, more))
    };
    if let Some(text) = told(refused) {
        (CommitState::Failure, text)
    } else if let Some(text) = told(waiting) {
        (CommitState::Pending, text)
    } else if !behind.is_empty() {
        (CommitState::Pending, format!("promoting {}", behind.join(", ")))
    } else if live.is_empty() {
        (CommitState::Success, "nothing is live".to_owned())
    } else {
        (CommitState::Success, format!("live: {}", live.join(", ")))
    }
}

/// Whether the newest content of a flow is a release.
fn is_cut(flow: &Flow) -> bool {
    flow.status.as_ref().is_some_and(|status| {
        status.draft.is_some() && status.observed_generation == flow.metadata.generation
    })
}

fn source(flow: &Flow) -> Option<ReleaseSource> {
    serde_json::from_str(flow.annotations().get(names::SOURCE)?).ok()
}

/// `path:line:column: message`.
fn of_file(problem: &FileProblem) -> String {
    let at = match (problem.line, problem.column) {
        (Some(line), Some(column)) => format!("{}:{line}:{column}", problem.path),
        (Some(line), None) => format!("{}:{line}", problem.path),
        (None, _) => problem.path.clone(),
    };
    format!("{at}: {}", problem.message)
}

/// The first of several, with the count of the others where a forge cuts it last.
pub(super) fn and_more(first: String, more: usize) -> String {
    if more == 0 {
        return first;
    }
    let first: String = first.chars().take(120).collect();
    format!("{first} (+{more} more)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn commit(digit: &str) -> String {
        digit.repeat(40)
    }

    fn repository(problems: &Value) -> Repository {
        let at = |digit: &str| json!({"commit": commit(digit), "short": &commit(digit)[..10]});
        serde_json::from_value(json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Repository", "metadata": {"name": "flows"},
            "spec": {"url": "https://forge.example.com/a/b", "draft": {"ref": "main"}, "live": {"ref": "live"}},
            "status": {"draft": at("a"), "live": at("b"), "problems": problems}}))
        .unwrap()
    }

    fn flow(name: &str, from: &str, spec_live: Option<&str>, status: &Value) -> Flow {
        let source = json!({"commit": commit(from)}).to_string();
        serde_json::from_value(json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Flow",
            "metadata": {"name": name, "generation": 2, "annotations": {"signoff.dev/source": source}},
            "spec": {"steps": [], "live": spec_live}, "status": status}))
        .unwrap()
    }

    fn draft(release: &str) -> Value {
        json!({"observedGeneration": 2, "draft": {"release": release, "digest": format!("sha256:{}", "0".repeat(64))}})
    }

    fn told(repository: &Repository, flows: &[Flow]) -> Vec<String> {
        let flows: Vec<&Flow> = flows.iter().collect();
        of_repository(repository, &flows)
            .into_iter()
            .map(|(commit, said)| {
                format!(
                    "{} {} {:?}: {}",
                    &commit.to_string()[..1],
                    said.context,
                    said.state,
                    said.description
                )
            })
            .collect()
    }

    #[test]
    fn a_commit_says_what_was_cut_of_it() {
        let flows = [
            flow("f", "a", None, &draft("f-1")),
            flow("g", "9", None, &draft("g-1")),
        ];
        assert_eq!(
            told(&repository(&json!([])), &flows)[0],
            "a signoff/flows Success: cut f-1; 1 unchanged"
        );
        assert_eq!(
            told(&repository(&json!([])), &flows[1..])[0],
            "a signoff/flows Success: nothing cut; 1 unchanged"
        );
        let mut behind = draft("f-1");
        behind["observedGeneration"] = json!(1);
        let flows = [flow("f", "a", None, &behind)];
        assert_eq!(
            told(&repository(&json!([])), &flows)[0],
            "a signoff/flows Pending: cutting releases"
        );
    }

    #[test]
    fn a_commit_says_what_is_wrong_and_where() {
        let problem =
            |path: &str| json!({"path": path, "line": 3, "column": 7, "message": "unknown field `stepz`"});
        let problems = json!([problem("a.yaml"), problem("b.yaml"), problem("c.yaml")]);
        let told_of = told(&repository(&problems), &[flow("f", "a", None, &draft("f-1"))]);
        assert_eq!(
            told_of[0],
            "a signoff/flows Failure: a.yaml:3:7: unknown field `stepz` (+2 more)"
        );
    }

    #[test]
    fn a_commit_of_the_live_ref_says_what_is_live_what_waits_and_what_was_refused() {
        let live =
            |status: Value| told(&repository(&json!([])), &[flow("f", "a", Some("f-2"), &status)])[1].clone();
        assert_eq!(live(json!({"live": "f-2"})), "b signoff/live Success: live: f-2");
        assert_eq!(
            live(json!({"live": "f-1"})),
            "b signoff/live Pending: promoting f-2"
        );
        let promotion = |phase: &str| json!({"live": "f-1", "promotion": {"release": "f-2", "approval": "f-2-promotion", "phase": phase}});
        assert_eq!(
            live(promotion("Waiting")),
            "b signoff/live Pending: f-2 waits for f-2-promotion"
        );
        assert_eq!(
            live(promotion("Rejected")),
            "b signoff/live Failure: f-2 was rejected"
        );
        assert_eq!(
            live(promotion("TimedOut")),
            "b signoff/live Failure: nobody approved f-2 in time"
        );
    }
}
