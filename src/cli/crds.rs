//! `signoff crds`: the definitions of all kinds as YAML.

use std::path::PathBuf;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use super::{answer::Answer, error::CliError};

/// Print the definitions of all kinds, as YAML.
#[derive(Debug, clap::Args)]
pub(super) struct CrdsArgs {
    /// Write one file for each kind into this folder instead.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

pub(super) fn verb(args: &CrdsArgs) -> Result<Answer, CliError> {
    let crds = signoff_api::crds();
    let documents = crds.iter().map(document).collect::<Result<Vec<_>, _>>()?;
    let names = crds.iter().map(|crd| {
        format!(
            "customresourcedefinition/{}",
            crd.metadata.name.clone().unwrap_or_default()
        )
    });
    let names: Vec<String> = names.collect();
    let data = serde_json::to_value(&crds).map_err(|error| CliError::internal("the definitions", &error))?;
    let Some(dir) = &args.dir else {
        return Ok(Answer::document(documents.join("---\n"))
            .with_data(data)
            .with_names(names));
    };
    std::fs::create_dir_all(dir)
        .map_err(|error| CliError::internal(&format!("{}", dir.display()), &error))?;
    for (crd, document) in crds.iter().zip(documents) {
        let path = dir.join(format!("{}.yaml", crd.spec.names.plural));
        std::fs::write(&path, document)
            .map_err(|error| CliError::internal(&format!("{}", path.display()), &error))?;
    }
    Ok(
        Answer::text(format!("wrote {} files to {}", crds.len(), dir.display()))
            .with_data(data)
            .with_names(names),
    )
}

fn document(crd: &CustomResourceDefinition) -> Result<String, CliError> {
    serde_yaml::to_string(crd).map_err(|error| CliError::internal("a definition has no YAML form", &error))
}
