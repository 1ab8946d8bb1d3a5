//! `signoff retry` and `signoff rerun`: a run once more, from a step or from the beginning.

use kube::{ResourceExt as _, api::ObjectMeta};

use super::{
    Global,
    answer::Answer,
    connect::Connection,
    error::{CliError, exit},
    named, run,
};
use crate::cluster::earlier_runs;
use signoff_api::{
    Release, Run, RunPhase, RunSpec, RunStatus,
    name::{DnsLabel, ObjectName, ReleaseName},
    retry::{RetryOf, RunName},
    run::{Channel, PinnedRelease},
};
use signoff_engine::{
    plan::Plan,
    retry::{self, ChildFacts, EarlierRun},
};

/// What separates the name of a run from the number of its retry.
const SUFFIX: &str = "-retry-";
/// Most runs that could not retry a run, and whose names are passed over.
const MAX_REFUSED: usize = 10;
/// Longest name of a run.
const MAX_NAME: usize = 63;

/// Go on from a run that ended badly: with its release, its inputs, and the outcomes of the steps before.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Calls are made with the idempotency keys of the earlier run. Approvals are asked again.\n\n\
Examples:\n  signoff retry refund-x7k2q\n  signoff retry refund-x7k2q --from pay --wait"
)]
pub(super) struct RetryArgs {
    /// Name of the run.
    #[arg(value_parser = named::run)]
    run: ObjectName,
    /// First step that is done again; by default, the first that did not end well.
    #[arg(long, value_name = "STEP")]
    from: Option<DnsLabel>,
    /// Wait until the run ends, or until only people or a callback let it go on (exit code 9); at most --timeout.
    #[arg(long)]
    wait: bool,
}

/// Start another run with the inputs of a run, and its release.
#[derive(Debug, clap::Args)]
pub(super) struct RerunArgs {
    /// Name of the run.
    #[arg(value_parser = named::run)]
    run: ObjectName,
    /// Use the live release instead of the one of that run.
    #[arg(long, conflicts_with = "draft")]
    live: bool,
    /// Use the newest draft instead of the release of that run.
    #[arg(long)]
    draft: bool,
    /// Wait until the run ends, or until only people or a callback let it go on (exit code 9); at most --timeout.
    #[arg(long)]
    wait: bool,
}

pub(super) async fn retry(args: &RetryArgs, global: &Global) -> Result<Answer, CliError> {
    let connection = Connection::open(global).await?;
    let earlier = found(&connection, &args.run).await?;
    let name = earlier.name_any();
    let status = earlier.status.clone().unwrap_or_default();
    if !status.phase.is_finished() {
        let message = format!("run {name} has not ended: {}", status.phase);
        return Err(CliError::new("NotEnded", exit::CONFLICT, message));
    }
    if status.phase == RunPhase::Succeeded {
        let message = format!("run {name} succeeded; `signoff rerun {name}` starts it again");
        return Err(CliError::new("Succeeded", exit::CONFLICT, message));
    }
    let Some(pinned) = &status.release else {
        let message =
            format!("run {name} ended before it had a release; `signoff rerun {name}` starts it again");
        return Err(CliError::new("NoRelease", exit::CONFLICT, message));
    };
    let claimed = earlier_runs::claimed(&connection.api::<Run>(), &name, &status, None).await;
    if let Some(by) = claimed.map_err(|error| CliError::api(&name, &error))? {
        return Err(already_retried(&name, &by));
    }
    let from = begin(&connection, args.from.as_ref(), &earlier, pinned).await?;
    let spec = RunSpec {
        retry_of: Some(RetryOf {
            run: parsed::<RunName>(&name)?,
            from: Some(from.clone()),
        }),
        release: Some(parsed(&pinned.name)?),
        ..again(&earlier)
    };
    let created = create(&connection, &name, spec).await?;
    run::started(
        &connection,
        created,
        &format!("retries {name} from step {from}"),
        args.wait,
        global,
    )
    .await
}

pub(super) async fn rerun(args: &RerunArgs, global: &Global) -> Result<Answer, CliError> {
    let connection = Connection::open(global).await?;
    let earlier = found(&connection, &args.run).await?;
    let release = earlier.status.as_ref().and_then(|status| status.release.as_ref());
    let mut spec = again(&earlier);
    if args.draft {
        spec.channel = Some(Channel::Draft);
    } else if !args.live {
        spec.release = match release {
            Some(pinned) => Some(parsed::<ReleaseName>(&pinned.name)?),
            None => earlier.spec.release.clone(),
        };
    }
    let metadata = run::generated(&spec);
    let created = run::start(&connection, metadata, spec).await?;
    let why = format!("starts {} again", earlier.name_any());
    run::started(&connection, created, &why, args.wait, global).await
}

async fn found(connection: &Connection, name: &ObjectName) -> Result<Run, CliError> {
    connection.get(name).await
}

/// The same flow with the same inputs.
fn again(earlier: &Run) -> RunSpec {
    RunSpec {
        inputs: earlier.spec.inputs.clone(),
        ..RunSpec::of(earlier.spec.flow.clone())
    }
}

/// The step to begin with, if the run can be retried from there: a run that cannot would be the one that retries it.
async fn begin(
    connection: &Connection,
    from: Option<&DnsLabel>,
    earlier: &Run,
    pinned: &PinnedRelease,
) -> Result<DnsLabel, CliError> {
    let release: Option<Release> = connection.named(&pinned.name).await?;
    let plan = release.and_then(|release| Plan::of_release(&release.spec.definition).ok());
    let Some(plan) = plan else {
        let message = "its release cannot be read, so it cannot be told where to begin: give --from STEP";
        return from.cloned().ok_or_else(|| CliError::usage(message.to_owned()));
    };
    let status = earlier.status.clone().unwrap_or_default();
    let from = match from {
        Some(step) => step.clone(),
        None => parsed(retry::first_unfinished(&plan, &status).ok_or_else(|| {
            CliError::usage("it cannot be told where to begin: give --from STEP".to_owned())
        })?)?,
    };
    let inputs = earlier.inputs().cloned().unwrap_or_default();
    let mut known = EarlierRun {
        name: earlier.name_any(),
        uid: earlier.uid().unwrap_or_default(),
        requesters: vec![],
        inputs: inputs.clone(),
        status,
        is_child: false,
        children: ChildFacts::new(),
    };
    let runs = connection.api::<Run>();
    let children = earlier_runs::children(&runs, &plan, Some(&from), &known, None).await;
    known.children = children.map_err(|error| CliError::api(&known.name, &error))?;
    let same = (&pinned.digest, &inputs);
    retry::take_over(&plan, Some(&from), &known, same, &mut RunStatus::default())
        .map_err(|refused| CliError::new("RetryRefused", exit::CONFLICT, refused.to_string()))?;
    Ok(from)
}

fn parsed<T: std::str::FromStr<Err = signoff_api::name::NameError>>(name: &str) -> Result<T, CliError> {
    name.parse().map_err(|error| CliError::internal(name, &error))
}

/// The name of a retry. It is the same for all who retry a run, so that only the first of them does.
fn next_name(run: &str) -> String {
    // a run that the retry of another one started has the suffix within its name
    let retried = run.rsplit_once(SUFFIX);
    let retried = retried.and_then(|(root, number)| Some((root, number.parse::<u32>().ok()?)));
    let (root, number) = retried.map_or((run, 1), |(root, number)| (root, number.saturating_add(1)));
    let suffix = format!("{SUFFIX}{number}");
    let room = MAX_NAME - suffix.len();
    let root = root.get(..room).unwrap_or(root).trim_end_matches(['-', '.']);
    format!("{root}{suffix}")
}

/// Creates the run that retries another. One that could not retry it has a name, but is in nobody's way.
async fn create(connection: &Connection, earlier: &str, spec: RunSpec) -> Result<Run, CliError> {
    let mut name = next_name(earlier);
    for _ in 0..MAX_REFUSED {
        let metadata = ObjectMeta {
            name: Some(name.clone()),
            ..ObjectMeta::default()
        };
        match run::start(connection, metadata, spec.clone()).await {
            Err(error) if error.is("AlreadyExists") => {
                let known: Option<Run> = connection.named(&name).await?;
                if known.is_none_or(|known| retries(&known, &spec)) {
                    break;
                }
                name = next_name(&name);
            }
            created => return created,
        }
    }
    Err(already_retried(earlier, &name))
}

fn already_retried(earlier: &str, by: &str) -> CliError {
    let message = format!("run {earlier} is retried by run {by} already");
    CliError::new("AlreadyRetried", exit::CONFLICT, message)
}

/// Whether a run retries the same run as another would, and could. Long names are cut, so a name may be that of another.
fn retries(known: &Run, other: &RunSpec) -> bool {
    let of = |spec: &RunSpec| spec.retry_of.as_ref().map(|of| of.run.clone());
    let status = known.status.clone().unwrap_or_default();
    of(&known.spec) == of(other) && (status.retry.is_some() || !status.phase.is_finished())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_has_one_name_for_all_who_ask_for_it_and_the_next_another() {
        assert_eq!(next_name("refund-x7k2q"), "refund-x7k2q-retry-1");
        assert_eq!(next_name("refund-x7k2q-retry-1"), "refund-x7k2q-retry-2");
        assert_eq!(next_name("refund-x7k2q-retry-9"), "refund-x7k2q-retry-10");
        let below = "refund-x7k2q-retry-1-apply-effa769df9";
        assert_eq!(next_name(below), format!("{below}-retry-1"));
        let long = next_name(&"a".repeat(63));
        assert_eq!(long.len(), 63);
        assert!(long.parse::<RunName>().is_ok());
        assert!(
            next_name(&format!("{}-b", "a".repeat(54)))
                .parse::<RunName>()
                .is_ok()
        );
    }
}
