//! The clients against a server that answers as the forges' documentation says, and as forges on bad days do.

mod contract;
mod github;
mod gitlab;
pub(crate) mod recorded;
mod refusals;

use std::sync::Arc;

use url::Url;

use self::contract::Contract;
use super::{Access, Actor, Forge, Login, ProjectPath, connect};
use crate::{
    git::{CommitId, HostPause, Secret},
    net::{AddressPolicy, Network},
};
use signoff_api::repository::ForgeKind;

const TOKEN: &str = "t0ken";

fn access(kind: ForgeKind, api: &str) -> Access {
    Access {
        kind,
        api: Url::parse(api).unwrap(),
        token: Secret::new(TOKEN),
        project: ProjectPath::parse("acme/flows").unwrap(),
        trust_email: false,
        rest: HostPause::default(),
    }
}

fn forge(kind: ForgeKind, api: &str) -> Arc<dyn Forge> {
    connect(access(kind, api), &Network::new(AddressPolicy::local())).unwrap()
}

async fn with(kind: ForgeKind, answers: &[(&str, u16, serde_json::Value)]) -> (Contract, Arc<dyn Forge>) {
    let contract = Contract::open(answers).await;
    let forge = forge(kind, &contract.url());
    (contract, forge)
}

fn actor(id: u64, login: &str) -> Actor {
    Actor {
        login: Login::new(login),
        id,
    }
}

fn commit(digit: &str) -> CommitId {
    CommitId::parse(&digit.repeat(40)).unwrap()
}
