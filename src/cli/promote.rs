//! `signoff promote`: asks for a release to become live.

use kube::{Api, ResourceExt as _, api::Patch, runtime::wait::await_condition};
use serde_json::json;

use super::{
    Global,
    answer::Answer,
    connect::{Connection, patch_params},
    error::{CliError, exit},
    named,
};
use crate::client::invalid_draft;
use signoff_api::{
    Flow, Release,
    flow::PromotionPhase,
    name::{FlowName, ReleaseName},
    names,
};

/// Make a release of a flow live; a gate may ask people first.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  signoff promote refund\n  signoff releases refund && signoff promote refund refund-3f9c1a2b7d"
)]
pub(super) struct PromoteArgs {
    /// Name of the flow.
    #[arg(value_parser = named::flow)]
    flow: FlowName,
    /// Name of the release; that of the newest draft by default, which is waited for.
    release: Option<ReleaseName>,
}

pub(super) async fn verb(args: &PromoteArgs, global: &Global) -> Result<Answer, CliError> {
    let connection = Connection::open(global).await?;
    let flows: Api<Flow> = connection.api();
    // before anything is written: a flow that wants a release which is not there is stalled until somebody mends it
    let listed = [global.command(&format!("releases {}", args.flow))];
    let wanted = match &args.release {
        Some(release) => release.clone(),
        None => newest_draft(&connection, &args.flow, global).await?,
    };
    let release = connection.named::<Release>(&wanted).await;
    let release = release.map_err(|error| error.next(listed.clone()))?;
    if let Some(release) = release.filter(|release| args.flow != *release.spec.flow) {
        let message = format!(
            "release {wanted} is of flow {}, not of {}",
            release.spec.flow, args.flow
        );
        return Err(CliError::new("NotFound", exit::NOT_FOUND, message).next(listed));
    }
    let generation = ask(&connection, &args.flow, &wanted).await?.metadata.generation;
    let seen = |flow: Option<&Flow>| {
        flow.is_none_or(|flow| {
            flow.status
                .as_ref()
                .is_some_and(|status| status.observed_generation >= generation)
        })
    };
    let waited =
        tokio::time::timeout(global.timeout(), await_condition(flows.clone(), &args.flow, seen)).await;
    let flow: Flow = connection.get(&args.flow).await?;
    let status = flow.status.clone().unwrap_or_default();
    let name = format!("flow/{}", flow.name_any());
    if status.live_release() == Some(wanted.as_str()) {
        let text = format!("release {wanted} is live for {name}");
        return Ok(Answer::text(text).with_data(json!(flow)).with_names([name]));
    }
    let promotion = status.promotion.filter(|promotion| wanted == promotion.release);
    if waited.is_err() {
        let text = format!("the promotion of {wanted} to {name} is not judged yet");
        let next = global.command(&format!("diff {}", args.flow));
        return Ok(Answer::text(text)
            .with_data(json!(flow))
            .with_names([name])
            .with_next([next])
            .with_exit(exit::NOT_YET));
    }
    match promotion {
        Some(promotion) if promotion.phase == PromotionPhase::Waiting => {
            let approval = promotion.approval.unwrap_or_default();
            let text = format!("release {wanted} becomes live when approval {approval} is given");
            let next = global.command_for_others(&format!("approve {approval}"));
            Ok(Answer::text(text)
                .with_data(json!(flow))
                .with_names([name])
                .with_next([next])
                .for_deciders())
        }
        _ => {
            let ready = status
                .conditions
                .iter()
                .find(|condition| condition.type_ == "Ready");
            let message = ready.map_or_else(
                || "the flow was not looked at yet".to_owned(),
                |ready| ready.message.clone(),
            );
            Err(CliError::new("NotPromoted", exit::CONFLICT, message))
        }
    }
}

/// The release of what the flow says now.
async fn newest_draft(
    connection: &Connection,
    flow: &FlowName,
    global: &Global,
) -> Result<ReleaseName, CliError> {
    let flows: Api<Flow> = connection.api();
    let found: Flow = connection.get(flow).await?;
    let generation = found.metadata.generation;
    let is_cut = move |flow: Option<&Flow>| {
        flow.is_none_or(|flow| {
            let status = flow.status.as_ref();
            status.is_some_and(|status| status.observed_generation >= generation)
        })
    };
    let cut = await_condition(flows.clone(), flow, is_cut);
    let waited = tokio::time::timeout(global.timeout(), cut).await;
    let found: Flow = connection.get(flow).await?;
    let status = found.status.clone().unwrap_or_default();
    if waited.is_err() {
        let message = format!("flow {flow} has no draft release yet: the operator has not looked at it");
        return Err(CliError::new("NotYet", exit::NOT_YET, message));
    }
    if let Some(why) = invalid_draft(&status, found.metadata.generation) {
        let message = format!("flow {flow} has no valid draft: {why}");
        return Err(CliError::new("InvalidDefinition", exit::INVALID, message));
    }
    let draft = status.draft.and_then(|draft| draft.release.parse().ok());
    draft.ok_or_else(|| {
        let message = format!("flow {flow} has no draft release");
        CliError::new("NotFound", exit::NOT_FOUND, message)
    })
}

/// Wishes the release live, and says who does: not every server writes it down by itself, but each that has the policies checks it.
async fn ask(connection: &Connection, flow: &FlowName, release: &ReleaseName) -> Result<Flow, CliError> {
    let flows: Api<Flow> = connection.api();
    let params = patch_params();
    let wish = json!({ "spec": { "live": release } });
    let mut signed = wish.clone();
    signed["metadata"]["annotations"][names::PROMOTED_BY] = json!(connection.whoami().await?.0);
    let mut patched = flows.patch(flow, &params, &Patch::Merge(&signed)).await;
    // somebody else wished it before, and that stays
    if let Err(kube::Error::Api(refusal)) = &patched
        && refusal.message.contains(names::PROMOTED_BY)
    {
        patched = flows.patch(flow, &params, &Patch::Merge(&wish)).await;
    }
    patched.map_err(|error| connection.failed::<Flow>(flow, &error))
}
