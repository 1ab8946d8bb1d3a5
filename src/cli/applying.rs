//! `signoff apply`: server-side apply of our kinds.

use std::path::PathBuf;

use kube::{
    Api, ResourceExt as _,
    api::{DynamicObject, Patch, PatchParams, ValidationDirective},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::json;

use super::{
    Global,
    answer::Answer,
    connect::{Connection, patch_params},
    error::{CliError, exit},
    lines::{self, Lines},
    manifest::{Checked, Manifest, files},
};
use signoff_api::{
    GROUP, VERSION, crds,
    name::{DnsLabel, NameError, ObjectName},
};

/// Apply manifests of Signoff's kinds, server-side.
#[derive(Debug, clap::Args)]
pub(super) struct ApplyArgs {
    /// Files to apply, or folders of them; - reads standard input.
    #[arg(short, long = "filename", required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Look into the folders below a folder as well.
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Take over fields that somebody else applied.
    #[arg(long)]
    force: bool,
}

pub(super) async fn verb(args: &ApplyArgs, global: &Global) -> Result<Answer, CliError> {
    let mut manifests = Vec::new();
    for path in files(&args.files, args.recursive)? {
        let manifest = Manifest::read(&path)?;
        manifests
            .push(manifest.map_err(|finding| CliError::new("Invalid", exit::INVALID, finding.to_string()))?);
    }
    if manifests.iter().all(|manifest| manifest.documents.is_empty()) {
        return Err(CliError::usage(
            "there is nothing to apply: no manifest in what was named",
        ));
    }
    // the API server has the last word, but takes a flow that cannot run
    let problems = manifests.iter().flat_map(|manifest| {
        let checked = manifest.documents.iter().map(|document| manifest.check(document));
        checked.flat_map(|checked| match checked {
            Checked::Ours { problems, warnings } => problems.into_iter().chain(warnings).collect(),
            Checked::Skipped { .. } => vec![],
        })
    });
    let warnings: Lines = problems.map(|problem| format!("warning: {problem}")).collect();
    lines::say(&warnings);
    let connection = Connection::open(global).await?;
    let mut applied = Vec::new();
    for document in manifests.iter().flat_map(|manifest| &manifest.documents) {
        applied.push(apply(&connection, &document.value, args.force, global).await?);
    }
    let names: Vec<String> = applied
        .iter()
        .map(|object| format!("{}/{}", kind(object).to_lowercase(), object.name_any()))
        .collect();
    let lines: Lines = names.iter().map(|name| format!("{name} applied")).collect();
    Ok(Answer::text(lines).with_data(json!(applied)).with_names(names))
}

fn kind(object: &DynamicObject) -> &str {
    object
        .types
        .as_ref()
        .map_or("object", |types| types.kind.as_str())
}

async fn apply(
    connection: &Connection,
    manifest: &serde_json::Value,
    force: bool,
    global: &Global,
) -> Result<DynamicObject, CliError> {
    let invalid = |message: String| CliError::new("Invalid", exit::INVALID, message);
    let object: DynamicObject = serde_json::from_value(manifest.clone())
        .map_err(|error| invalid(format!("not a manifest: {error}")))?;
    let resource = resource(kind(&object)).ok_or_else(|| {
        invalid(format!(
            "signoff apply knows the kinds of {GROUP}, not {}; use kubectl apply",
            kind(&object)
        ))
    })?;
    let name = object
        .metadata
        .name
        .clone()
        .ok_or_else(|| invalid("a manifest to apply has metadata.name".to_owned()))?;
    let namespace = global
        .namespace
        .as_ref()
        .map(ToString::to_string)
        .or_else(|| object.namespace())
        .unwrap_or_else(|| connection.namespace.clone());
    let name: ObjectName = name
        .parse()
        .map_err(|error: NameError| invalid(format!("metadata.name: {error}")))?;
    let namespace: DnsLabel = namespace
        .parse()
        .map_err(|error: NameError| invalid(format!("metadata.namespace: {error}")))?;
    let api: Api<DynamicObject> = Api::namespaced_with(connection.client.clone(), &namespace, &resource);
    let params = PatchParams {
        force,
        field_validation: Some(ValidationDirective::Strict),
        ..patch_params()
    };
    api.patch(&name, &params, &Patch::Apply(&object))
        .await
        .map_err(|error| {
            let is_conflict = matches!(&error, kube::Error::Api(status) if status.code == 409);
            let error = CliError::api(&name, &error);
            if is_conflict && !force {
                error.hint("--force takes over the fields that somebody else applied")
            } else {
                error
            }
        })
}

fn resource(kind: &str) -> Option<ApiResource> {
    let crd = crds().into_iter().find(|crd| crd.spec.names.kind == kind)?;
    Some(ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk(GROUP, VERSION, kind),
        &crd.spec.names.plural,
    ))
}
