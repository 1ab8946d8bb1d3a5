//! Whether somebody who decides may act as the service account that asked: nobody knows then who it was.
//!
//! The right to impersonate an account, to mint a token of it, or to run a pod under it is the account's own power. `edit`, which comes with
//! Kubernetes, has all three.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::try_join_all;
use k8s_openapi::api::authorization::v1::ResourceAttributes;

use crate::cluster::{
    access::{self, User},
    context::Context,
    error_chain,
};
use signoff_api::Approval;
use signoff_engine::judge::{ActsAs, DecisionFact};

const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// One way to act as a service account.
struct Way {
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    subresource: &'static str,
    /// Whether the right can be given for this account alone.
    named: bool,
    /// What people are told.
    says: &'static str,
}

const fn impersonate(verb: &'static str, group: &'static str) -> Way {
    Way {
        verb,
        group,
        resource: "serviceaccounts",
        subresource: "",
        named: true,
        says: "may impersonate it",
    }
}

const fn runs(group: &'static str, resource: &'static str) -> Way {
    Way {
        verb: "create",
        group,
        resource,
        subresource: "",
        named: false,
        says: "may run pods under it",
    }
}

const WAYS: [Way; 13] = [
    impersonate("impersonate", ""),
    impersonate("impersonate:serviceaccount", "authentication.k8s.io"),
    Way {
        subresource: "token",
        says: "may have tokens made of it",
        ..impersonate("create", "")
    },
    runs("", "pods"),
    Way {
        subresource: "exec",
        says: "may run commands in pods under it",
        ..runs("", "pods")
    },
    Way {
        verb: "patch",
        subresource: "ephemeralcontainers",
        says: "may run commands in pods under it",
        ..runs("", "pods")
    },
    runs("", "replicationcontrollers"),
    runs("apps", "deployments"),
    runs("apps", "replicasets"),
    runs("apps", "statefulsets"),
    runs("apps", "daemonsets"),
    runs("batch", "jobs"),
    runs("batch", "cronjobs"),
];

/// A service account, by namespace and name.
struct Account<'a> {
    user: &'a str,
    namespace: &'a str,
    name: &'a str,
}

impl<'a> Account<'a> {
    fn of(user: &'a str) -> Option<Self> {
        let (namespace, name) = user.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')?;
        Some(Self {
            user,
            namespace,
            name,
        })
    }
}

/// Asks it for every decision that was not judged yet. Says whether something could not be asked now.
pub(super) async fn ask(context: &Context, approval: &Approval, facts: &mut [DecisionFact]) -> bool {
    let spec = &approval.spec;
    if spec.self_approval {
        return false;
    }
    let involved: BTreeSet<&str> = [&spec.requested_by, &spec.author]
        .into_iter()
        .flatten()
        .chain(&spec.earlier_requesters)
        .chain(&spec.written_by)
        .chain(
            spec.parents
                .iter()
                .flat_map(|run| [&run.requested_by, &run.author])
                .flatten(),
        )
        .map(String::as_str)
        .collect();
    let accounts: Vec<Account<'_>> = involved.into_iter().filter_map(Account::of).collect();
    if accounts.is_empty() {
        return false;
    }
    let mut known: BTreeMap<(String, Vec<String>), ActsAs> = BTreeMap::new();
    let mut held = false;
    for fact in facts.iter_mut().filter(|fact| fact.judged.is_none()) {
        let Some(by) = fact.spec.by.clone() else {
            continue;
        };
        let who = (by, fact.spec.groups.clone().unwrap_or_default());
        fact.acts_as = if let Some(known) = known.get(&who) {
            known.clone()
        } else {
            let answer = as_one_of(context, &accounts, &who.0, &who.1).await;
            known.insert(who, answer.clone());
            answer
        };
        held |= fact.acts_as == ActsAs::Unknown;
    }
    held
}

async fn as_one_of(context: &Context, accounts: &[Account<'_>], user: &str, groups: &[String]) -> ActsAs {
    for account in accounts.iter().filter(|account| account.user != user) {
        let ways = WAYS.iter().map(|way| async move {
            Ok::<_, kube::Error>((may(context, way, account, user, groups).await?, way.says))
        });
        let how = match try_join_all(ways).await {
            Ok(answers) => answers
                .into_iter()
                .find(|(allowed, _)| *allowed)
                .map(|(_, says)| says),
            // an operator for some namespaces may not ask in others
            Err(kube::Error::Api(status)) if status.code == 403 => {
                Some("may perhaps act as it, which the operator may not ask in that namespace")
            }
            Err(error) => {
                tracing::warn!(user, account = account.user, error = %error_chain(&error),
                    "it could not be asked whether a decider may act as who asked; trying again");
                return ActsAs::Unknown;
            }
        };
        if let Some(how) = how {
            return ActsAs::Account {
                account: account.user.to_owned(),
                how: how.to_owned(),
            };
        }
    }
    ActsAs::Nobody
}

async fn may(
    context: &Context,
    way: &Way,
    account: &Account<'_>,
    user: &str,
    groups: &[String],
) -> Result<bool, kube::Error> {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let what = ResourceAttributes {
        group: some(way.group),
        resource: some(way.resource),
        subresource: some(way.subresource),
        verb: some(way.verb),
        name: way.named.then(|| account.name.to_owned()),
        ..ResourceAttributes::default()
    };
    access::may(context, account.namespace, User { name: user, groups }, what).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_service_accounts_are_accounts() {
        let account = Account::of("system:serviceaccount:ci:bot").unwrap();
        assert_eq!((account.namespace, account.name), ("ci", "bot"));
        for other in [
            "dev",
            "system:serviceaccount:",
            "system:node:a",
            "Eve <system:serviceaccount:ci:bot>",
        ] {
            assert!(Account::of(other).is_none(), "{other}");
        }
    }
}
