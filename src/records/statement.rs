//! What a record says: an in-toto Statement about a run that ended. Its objects are as the API server had them, so that their
//! fields are those of the kinds.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt as _};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::store::{Owner, RecordPath};
use signoff_api::{
    Approval, ApprovalSpec, ApprovalStatus, Decision, DecisionSpec, DecisionStatus, Digest, Release,
    ReleaseSpec, Run, RunPhase, RunSpec, RunStatus, canonical, run::StepError,
};

/// The type of an in-toto Statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The type of what a record says of a run.
pub const PREDICATE_TYPE: &str = "https://signoff.dev/attestations/run/v1";

/// The whole of a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    /// [`STATEMENT_TYPE`].
    #[serde(rename = "_type")]
    pub statement_type: String,
    /// What the predicate is about, by digest: the run, its inputs, its release, its commit.
    pub subject: Vec<Subject>,
    /// [`PREDICATE_TYPE`].
    pub predicate_type: String,
    /// What happened.
    pub predicate: Predicate,
}

/// Something with a digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// Its digest, by algorithm.
    pub digest: BTreeMap<String, String>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Predicate {
    /// Namespace of everything.
    pub namespace: String,
    /// How the run ended.
    pub end: End,
    /// Digest of the inputs, in canonical JSON, with the defaults of the release.
    pub inputs: Digest,
    /// The run: who asked for what, and each step with its outcome and times.
    pub run: Recorded<RunSpec, RunStatus>,
    /// The release that the run used, whole. It is absent if the run ended without one, or the release was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Recorded<ReleaseSpec, ()>>,
    /// Questions that people were asked, in that order.
    pub questions: Vec<Question>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct End {
    /// Phase of the run.
    pub phase: RunPhase,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Why it did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<StepError>,
}

/// An object as the API server had it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recorded<P, S> {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// When the API server took it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// Its spec.
    pub spec: P,
    /// Its status.
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    pub status: Option<S>,
}

/// A question that people were asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Question {
    /// The Approval.
    #[serde(flatten)]
    pub approval: Recorded<ApprovalSpec, ApprovalStatus>,
    /// Digest and size of each item that was shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shown: Vec<Shown>,
    /// True if what was shown is too long for a record: `spec.show` has the items without their content, which lies in the
    /// object store under its digest.
    #[serde(default, skip_serializing_if = "is_false")]
    pub content_left_out: bool,
    /// Decisions on it, in the order in which they were made, also those that did not count.
    pub decisions: Vec<Recorded<DecisionSpec, DecisionStatus>>,
    /// Number of further decisions, none of which counted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub decisions_left_out: u64,
}

/// An item that was shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Its name.
    pub name: String,
    /// Digest of its content.
    pub sha256: Digest,
    /// Number of bytes of its content.
    pub size: u64,
}

// serde asks for references
#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl<P, S> Recorded<P, S> {
    fn of(object: &impl Resource, spec: P, status: Option<S>) -> Self {
        let created = object.meta().creation_timestamp.as_ref();
        Self {
            name: object.meta().name.clone().unwrap_or_default(),
            uid: object.meta().uid.clone().unwrap_or_default(),
            created_at: created.map(|time| time.0),
            spec,
            status,
        }
    }

    fn put_into(&self, object: &mut impl Resource, namespace: &str) {
        let meta = object.meta_mut();
        meta.name = Some(self.name.clone());
        meta.namespace = Some(namespace.to_owned());
        meta.uid = Some(self.uid.clone());
        meta.creation_timestamp = self
            .created_at
            .map(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time);
    }
}

impl Question {
    /// A question with the decisions on it.
    pub fn of(approval: &Approval, decisions: Vec<Decision>, decisions_left_out: u64) -> Self {
        let shown = approval.spec.show.iter().map(|item| Shown {
            name: item.name.clone(),
            sha256: Digest::of(item.inline.as_bytes()),
            size: item.inline.len() as u64,
        });
        let decisions = decisions.into_iter().map(|decision| {
            let (spec, status) = (decision.spec.clone(), decision.status.clone());
            Recorded::of(&decision, spec, status)
        });
        Self {
            shown: shown.collect(),
            content_left_out: false,
            decisions: decisions.collect(),
            decisions_left_out,
            approval: Recorded::of(approval, approval.spec.clone(), approval.status.clone()),
        }
    }
}

/// What a record says of a run that ended.
///
/// # Errors
/// If something has no JSON form.
pub fn statement(
    run: &Run,
    release: Option<&Release>,
    questions: Vec<Question>,
) -> Result<Statement, serde_json::Error> {
    let mut status = run.status.clone().unwrap_or_default();
    // it says where this record is
    status.record = None;
    // messages may still be under way, and what they are about is recorded
    status.notifications.clear();
    status.has_notifications = None;
    let inputs = canonical::digest(&run.inputs().cloned().unwrap_or_default())?;
    let end = End {
        phase: status.phase,
        at: status.finished_at.as_ref().map(|time| time.0),
        error: status.error.clone(),
    };
    let predicate = Predicate {
        namespace: run.namespace().unwrap_or_default(),
        end,
        inputs,
        run: Recorded::of(run, run.spec.clone(), Some(status)),
        release: release.map(|release| Recorded::of(release, release.spec.clone(), None)),
        questions,
    };
    Ok(Statement {
        statement_type: STATEMENT_TYPE.to_owned(),
        subject: subjects(&predicate)?,
        predicate_type: PREDICATE_TYPE.to_owned(),
        predicate,
    })
}

/// What a predicate is about.
pub(super) fn subjects(predicate: &Predicate) -> Result<Vec<Subject>, serde_json::Error> {
    let sha256 = |name: String, digest: &Digest| Subject {
        name,
        digest: BTreeMap::from([("sha256".to_owned(), digest.hex().to_owned())]),
    };
    let name = format!("run/{}/{}", predicate.namespace, predicate.run.name);
    let mut subjects = vec![
        sha256(name, &canonical::digest(&predicate.run)?),
        sha256("inputs".to_owned(), &predicate.inputs),
    ];
    let status = predicate.run.status.as_ref();
    if let Some(pinned) = status.and_then(|status| status.release.as_ref()) {
        subjects.push(sha256(format!("release/{}", pinned.name), &pinned.digest));
        if let Some(commit) = &pinned.commit {
            subjects.push(Subject {
                name: "commit".to_owned(),
                digest: BTreeMap::from([("gitCommit".to_owned(), commit.clone())]),
            });
        }
    }
    Ok(subjects)
}

/// Which run a statement is about, read for nothing else: also one of another version says that.
#[derive(Deserialize)]
struct About {
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: AboutRun,
}

#[derive(Deserialize)]
struct AboutRun {
    namespace: String,
    end: AboutEnd,
    run: AboutObject,
}

#[derive(Deserialize)]
struct AboutEnd {
    #[serde(default)]
    at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct AboutObject {
    name: String,
    uid: String,
}

/// Where the record with this payload has to lie, if it is one about a run.
pub(super) fn place_of(payload: &[u8]) -> Option<RecordPath> {
    let about: About = serde_json::from_slice(payload).ok()?;
    let AboutRun { namespace, end, run } = about.predicate;
    (about.predicate_type == PREDICATE_TYPE).then(|| place(namespace, run.name, run.uid, end.at))
}

fn place(namespace: String, run: String, uid: String, at: Option<Timestamp>) -> RecordPath {
    RecordPath::of(&Owner { namespace, run, uid }, at.unwrap_or_default())
}

impl Predicate {
    /// Where its record has to lie.
    pub fn place(&self) -> RecordPath {
        let Recorded { name, uid, .. } = &self.run;
        place(self.namespace.clone(), name.clone(), uid.clone(), self.end.at)
    }

    /// The run as an object.
    pub fn run_object(&self) -> Run {
        let mut run = Run::new(&self.run.name, self.run.spec.clone());
        self.run.put_into(&mut run, &self.namespace);
        run.status.clone_from(&self.run.status);
        run
    }

    /// The release as an object.
    pub fn release_object(&self) -> Option<Release> {
        let recorded = self.release.as_ref()?;
        let mut release = Release::new(&recorded.name, recorded.spec.clone());
        recorded.put_into(&mut release, &self.namespace);
        Some(release)
    }

    /// The questions as objects.
    pub fn approval_objects(&self) -> Vec<Approval> {
        let questions = self.questions.iter().map(|question| &question.approval);
        let objects = questions.map(|recorded| {
            let mut approval = Approval::new(&recorded.name, recorded.spec.clone());
            recorded.put_into(&mut approval, &self.namespace);
            approval.status.clone_from(&recorded.status);
            approval
        });
        objects.collect()
    }

    /// The decisions as objects.
    pub fn decision_objects(&self) -> Vec<Decision> {
        let decisions = self.questions.iter().flat_map(|question| &question.decisions);
        let objects = decisions.map(|recorded| {
            let mut decision = Decision::new(&recorded.name, recorded.spec.clone());
            recorded.put_into(&mut decision, &self.namespace);
            decision.status.clone_from(&recorded.status);
            decision
        });
        objects.collect()
    }
}

impl Statement {
    /// Its bytes, the same each time.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::bytes(&json!(self))
    }
}
