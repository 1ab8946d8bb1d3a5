//! How two versions of a `job` step differ.

use crate::difference::{Field, Loosened, LooseningKind};
use signoff_api::step::JobStep;

pub(super) fn fields(step: &JobStep) -> Vec<Field> {
    let JobStep {
        image,
        command,
        args,
        env,
        service_account,
        resources,
        template,
        schema,
        keep_log,
    } = step;
    let limits = resources.as_ref().and_then(|resources| resources.limits.as_ref());
    let requests = resources
        .as_ref()
        .and_then(|resources| resources.requests.as_ref());
    vec![
        Field::required("job.image", image),
        Field::new("job.command", command.as_ref()).default("the entry point of the image"),
        Field::new("job.args", args.as_ref()),
        Field::new("job.env", env.as_ref()),
        Field::new("job.serviceAccount", service_account.as_ref()).default("none, without a token"),
        Field::new("job.resources.limits", limits),
        Field::new("job.resources.requests", requests),
        Field::new("job.template", template.as_ref()),
        Field::new("job.schema", schema.as_ref()),
        Field::new("job.keepLog", keep_log.as_ref()).default("true"),
    ]
}

/// What a job leaves to less control than it did: later steps get an output that nothing checks.
pub(super) fn loosened(old: &JobStep, new: &JobStep) -> Vec<Loosened> {
    if old.schema.is_none() || new.schema.is_some() {
        return vec![];
    }
    vec![Loosened {
        kind: LooseningKind::JobCheckRemoved,
        before: Some("schema".to_owned()),
        after: None,
    }]
}
