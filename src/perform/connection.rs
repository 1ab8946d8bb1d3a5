//! What every executor needs of a Connection: the Connection itself, and the values of its Secrets, read at the moment
//! of the call.

use kube::{Api, Client};

use super::error;
use crate::{
    cluster::secrets::{SecretError, read_text},
    net::redact::Secrets,
};
use signoff_api::{
    Connection, ConnectionKind, ConnectionSpec, Digest, connection::SecretKeyRef, name::ObjectName,
    reason::StepReason,
};
use signoff_engine::facts::EffectError;

/// The Connection of a call. If people decided on the call, it must be the one that they decided on.
pub(super) async fn find(
    client: &Client,
    namespace: &str,
    name: &ObjectName,
    bound: Option<&Digest>,
) -> Result<ConnectionSpec, EffectError> {
    let found = Api::<Connection>::namespaced(client.clone(), namespace)
        .get_opt(name)
        .await;
    let connection = match found {
        Ok(Some(connection)) => connection.spec,
        Ok(None) => {
            return Err(unusable(format!(
                "there is no Connection {name:?} in namespace {namespace:?}"
            )));
        }
        Err(failure) => {
            return Err(unreadable(
                StepReason::ConnectionNotFound,
                &format!("the Connection {name:?}"),
                &failure,
            ));
        }
    };
    if bound.is_some() && connection.digest().ok().as_ref() != bound {
        return Err(error::invalid(
            StepReason::ConnectionChanged,
            format!(
                "the Connection {name:?} has changed since people decided on what the step does; nothing was sent"
            ),
        ));
    }
    Ok(connection)
}

/// A Connection that a call cannot use.
pub(super) fn unusable(message: String) -> EffectError {
    error::invalid(StepReason::ConnectionNotFound, message)
}

/// A Connection of another kind than a call needs.
pub(super) fn not_one_for(wanted: &str, name: &ObjectName, kind: &ConnectionKind) -> EffectError {
    unusable(format!(
        "the Connection {name:?} is not one for {wanted} but for {}",
        kind.key()
    ))
}

/// Longest secret that is used, in bytes.
const MAX_SECRET: usize = 16 * 1024;

/// The value of one key of a Secret, without a line break at its end. What comes back from the call will not hold it.
pub(super) async fn secret(
    client: &Client,
    namespace: &str,
    reference: &SecretKeyRef,
    secrets: &mut Secrets,
) -> Result<String, EffectError> {
    let value = text(client, namespace, reference).await?;
    if value.len() > MAX_SECRET {
        let SecretKeyRef { name, key } = reference;
        return Err(error::invalid(
            StepReason::CredentialsRefused,
            format!(
                "the key {key:?} of the Secret {name:?} is longer than {} KiB",
                MAX_SECRET / 1024
            ),
        ));
    }
    secrets.add(&value);
    Ok(value)
}

/// The value of one key of a Secret that is no secret, such as a certificate.
pub(super) async fn text(
    client: &Client,
    namespace: &str,
    reference: &SecretKeyRef,
) -> Result<String, EffectError> {
    let text = read_text(client, namespace, reference)
        .await
        .map_err(|why| match &why {
            SecretError::Unreadable(name, failure) => unreadable(
                StepReason::SecretNotFound,
                &format!("the Secret {name:?}"),
                failure,
            ),
            SecretError::NoSecret { .. } | SecretError::NoKey { .. } | SecretError::NotText { .. } => {
                error::invalid(StepReason::SecretNotFound, why.to_string())
            }
        })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn unreadable(reason: StepReason, what: &str, failure: &kube::Error) -> EffectError {
    match failure {
        kube::Error::Api(status) if status.code == 403 => {
            error::invalid(reason, format!("the operator may not read {what}"))
        }
        _ => error::not_ready(reason, format!("{what} could not be read from the API server")),
    }
}
