//! What to do about a failure, by its reason.

use signoff_api::reason::StepReason;

const FLOW: &str = "The flow or its data has to change. A run keeps its release: fix the flow, make it live, and start a new run.";
const OUTSIDE: &str =
    "Look at the system that the message is about. Once it works, retry the run: it goes on from this step.";
const MISSING: &str = "Something that the step needs is missing or not allowed. The message names it. Once it is there, retry the run.";
const NEW_RUN: &str =
    "It is no longer what people decided on. Start a new run, so that they see what holds now.";
const STORE: &str = "Ask an administrator to look at the object store, then retry the run.";
const CHILD: &str = "The message names the other run. See there what happened, then retry this run.";
const ITEMS: &str = "The messages of the items say why.";

/// What a person can do now. Nothing if there is nothing to mend.
pub(super) fn advice(reason: StepReason) -> Option<&'static str> {
    match reason {
        StepReason::ExpressionFailed
        | StepReason::ExpressionTooCostly
        | StepReason::NoApprovers
        | StepReason::InvalidApprovers
        | StepReason::InvalidShownItem
        | StepReason::InvalidForm
        | StepReason::InvalidQuorum
        | StepReason::InvalidRequest
        | StepReason::InvalidItems
        | StepReason::InvalidTime
        | StepReason::InvalidKey
        | StepReason::InvalidEventKeys
        | StepReason::RepeatLimit
        | StepReason::BudgetExceeded
        | StepReason::OutputTooLarge
        | StepReason::StatusTooLarge
        | StepReason::StatusRefused
        | StepReason::ApprovalRefused
        | StepReason::TaskRefused
        | StepReason::RunRefused
        | StepReason::NotAResource
        | StepReason::ResourceTooLarge
        | StepReason::StoreFull => Some(FLOW),
        StepReason::UnexpectedStatus
        | StepReason::UnexpectedResponse
        | StepReason::UnexpectedExitCode
        | StepReason::ProcessNotStarted
        | StepReason::Unreachable
        | StepReason::AttemptTimedOut
        | StepReason::ResponseTooLarge
        | StepReason::InvalidResponse
        | StepReason::InvalidAnswer
        | StepReason::AnswerCutOff
        | StepReason::AnswerRefused
        | StepReason::BranchMoved
        | StepReason::PushRefused
        | StepReason::ForgeRefused
        | StepReason::CredentialsRefused
        | StepReason::MessageRefused
        | StepReason::HeartbeatLost
        | StepReason::LeaseLost
        | StepReason::TaskFailed => Some(OUTSIDE),
        StepReason::ConnectionNotFound
        | StepReason::SecretNotFound
        | StepReason::RepositoryNotFound
        | StepReason::BranchNotFound
        | StepReason::BranchNotAllowed
        | StepReason::BranchExists
        | StepReason::FileRefused
        | StepReason::HostKeyUnknown
        | StepReason::ModelNotAllowed
        | StepReason::AddressRefused
        | StepReason::NoStore => Some(MISSING),
        StepReason::ConnectionChanged | StepReason::RequestChanged | StepReason::VersionConflict => {
            Some(NEW_RUN)
        }
        StepReason::StoreUnavailable | StepReason::ResourceNotFound | StepReason::HashMismatch => Some(STORE),
        StepReason::RunNotSucceeded | StepReason::RunDeleted => Some(CHILD),
        StepReason::ItemsFailed => Some(ITEMS),
        StepReason::OutcomeUnknown => {
            Some("Find out at the service whether it happened. Retry the run only if it did not.")
        }
        StepReason::RespondTimedOut => Some("Nobody answered in time. Retry the run to ask again."),
        StepReason::InvalidInputs => Some("Start a new run with inputs that fit."),
        StepReason::ConcurrencyRejected => Some("Start a new run once the other one has ended."),
        StepReason::RetryRefused => Some("Start a new run: this one cannot go on from the earlier one."),
        StepReason::FinallyFailed => {
            Some("See the steps of `finally`: what they were to clean up may still be there.")
        }
        StepReason::Rejected | StepReason::TooManyChanges | StepReason::Cancelled | StepReason::Ended => None,
    }
}
