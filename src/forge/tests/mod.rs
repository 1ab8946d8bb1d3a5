//! The clients against a server that answers as the forges' documentation says, and as forges on bad days do.

mod contract;
mod github;
mod gitlab;
mod refusals;

use std::sync::Arc;

use url::Url;

use self::contract::Contract;
use super::{Forge, ProjectPath, connect};
use crate::{
    api::repository::ForgeKind,
    git::{CommitId, Network, Secret},
};

const TOKEN: &str = "t0ken";

fn forge(kind: ForgeKind, api: &str) -> Arc<dyn Forge> {
    let project = ProjectPath::parse("acme/flows").unwrap();
    let network = Network::new(|_| true, false);
    connect(
        kind,
        Url::parse(api).unwrap(),
        &Secret::new(TOKEN),
        project,
        &network,
    )
    .unwrap()
}

async fn with(kind: ForgeKind, answers: &[(&str, u16, serde_json::Value)]) -> (Contract, Arc<dyn Forge>) {
    let contract = Contract::open(answers).await;
    let forge = forge(kind, &contract.url());
    (contract, forge)
}

fn commit(digit: &str) -> CommitId {
    CommitId::parse(&digit.repeat(40)).unwrap()
}
