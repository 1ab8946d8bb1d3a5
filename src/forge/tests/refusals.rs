//! What forges answer on bad days.

use std::time::Duration;

use serde_json::json;

use super::{Contract, TOKEN, access, forge};
use crate::{
    forge::{ForgeError, Login},
    net::{AddressPolicy, Network},
};
use signoff_api::{
    reason::{Classified as _, ErrorClass},
    repository::ForgeKind,
};

const USER: &str = "GET /user";

async fn refused(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> ForgeError {
    let contract = Contract::open(&[]).await;
    contract.answer(USER, status, headers, body.to_vec());
    forge(ForgeKind::GitHub, &contract.url())
        .own_account()
        .await
        .unwrap_err()
}

#[tokio::test]
async fn each_refusal_has_its_class_and_the_forges_words() {
    let said = br#"{"message":"Bad credentials"}"#;
    for (status, class, reason) in [
        (401, ErrorClass::Invalid, "ForgeForbidden"),
        (403, ErrorClass::Invalid, "ForgeForbidden"),
        (404, ErrorClass::Invalid, "ForgeNotFound"),
        (422, ErrorClass::Invalid, "ForgeRejected"),
        (302, ErrorClass::Invalid, "ForgeRejected"),
        (500, ErrorClass::Transient, "ForgeFailed"),
        (503, ErrorClass::Transient, "ForgeFailed"),
    ] {
        let error = refused(status, &[], said).await;
        assert_eq!((error.class(), error.reason()), (class, reason), "{status}");
        let told = error.to_string();
        assert!(status >= 500 || told.contains("Bad credentials"), "{told}");
    }
}

#[tokio::test]
async fn a_forge_that_asks_for_it_is_left_alone_for_as_long_as_it_says() {
    let rest = async |status, headers: &[(&'static str, &str)]| {
        let error = refused(status, headers, b"").await;
        assert_eq!(error.class(), ErrorClass::Waiting, "{error}");
        error.retry_after().unwrap()
    };
    assert_eq!(rest(429, &[("retry-after", "7")]).await, Duration::from_secs(7));
    assert_eq!(rest(429, &[]).await, Duration::from_mins(1));
    assert_eq!(
        rest(429, &[("retry-after", "999999")]).await,
        Duration::from_hours(1)
    );
    assert_eq!(rest(503, &[("retry-after", "9")]).await, Duration::from_secs(9));
    assert_eq!(rest(403, &[("retry-after", "60")]).await, Duration::from_secs(60));
    let past = [("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")];
    assert_eq!(rest(429, &past).await, Duration::from_secs(1));
    let spent = [
        ("x-ratelimit-remaining", "0"),
        ("x-ratelimit-reset", "4102444800"),
    ];
    assert_eq!(rest(403, &spent).await, Duration::from_hours(1));
}

#[tokio::test]
async fn while_it_wants_to_be_left_alone_no_client_that_shares_its_rest_calls_it() {
    let contract = Contract::open(&[(USER, 200, json!({"id": 1, "login": "signoff", "type": "User"}))]).await;
    let network = Network::new(AddressPolicy::local());
    let shared = access(ForgeKind::GitHub, &contract.url());
    let client = || crate::forge::connect(shared.clone(), &network).unwrap();
    let (one, other) = (client(), client());
    other.own_account().await.unwrap();
    other.own_account().await.unwrap();
    assert_eq!(contract.made().len(), 1, "a token is one account's");
    contract.answer(USER, 429, &[("retry-after", "3600")], vec![]);
    one.own_account().await.unwrap_err();
    let calls = contract.made().len();
    for client in [one, other, client()] {
        let error = client.account(&Login::new("alice")).await.unwrap_err();
        assert_eq!(error.reason(), "ForgeRateLimited");
        assert!(error.retry_after() > Some(Duration::from_mins(50)), "{error}");
    }
    assert_eq!(contract.made().len(), calls);
    // another Repository's is another matter
    forge(ForgeKind::GitHub, &contract.url())
        .own_account()
        .await
        .unwrap_err();
    assert_eq!(contract.made().len(), calls + 1);
}

#[tokio::test]
async fn an_address_of_gitea_is_believed_only_where_it_is_trusted_to_confirm_them() {
    let user = json!({"id": 7, "login": "alice", "email": "alice@example.com"});
    let contract = Contract::open(&[("GET /users/alice", 200, user)]).await;
    let network = Network::new(AddressPolicy::local());
    for (trust_email, email) in [(false, None), (true, Some("alice@example.com"))] {
        let access = crate::forge::Access {
            trust_email,
            ..access(ForgeKind::Gitea, &contract.url())
        };
        let client = crate::forge::connect(access, &network).unwrap();
        let account = client.account(&Login::new("alice")).await.unwrap();
        assert_eq!((account.id, account.email.as_deref()), (7, email));
    }
}

#[tokio::test]
async fn an_answer_that_is_none_is_unreadable_and_one_without_end_is_cut() {
    for body in [&b"<html>"[..], b"", b"[]", br#"{"login": 7}"#] {
        let error = refused(200, &[], body).await;
        assert_eq!(error.reason(), "ForgeUnreadable", "{error}");
    }
    let error = refused(200, &[], &vec![b' '; 9 << 20]).await;
    assert!(error.to_string().contains("larger than"), "{error}");
    let long = format!(r#"{{"message":"{}"}}"#, "x".repeat(10_000));
    assert!(refused(403, &[], long.as_bytes()).await.to_string().len() < 500);
}

#[tokio::test]
async fn a_redirect_takes_the_token_nowhere() {
    let elsewhere = Contract::open(&[(USER, 200, json!({"id": 1, "login": "mallory"}))]).await;
    for kind in [ForgeKind::Gitea, ForgeKind::GitHub, ForgeKind::GitLab] {
        let contract = Contract::open(&[]).await;
        let to = format!("{}user", elsewhere.url());
        contract.answer(USER, 302, &[("location", &to)], vec![]);
        assert!(forge(kind, &contract.url()).own_account().await.is_err());
        assert_eq!(contract.made()[0].authorization, format!("Bearer {TOKEN}"));
    }
    assert!(elsewhere.made().is_empty());
}

#[tokio::test]
async fn a_login_cannot_lead_to_another_path() {
    let contract = Contract::open(&[]).await;
    for kind in [ForgeKind::Gitea, ForgeKind::GitHub] {
        let login = Login::new("../repos/acme/flows?x=#");
        assert!(forge(kind, &contract.url()).account(&login).await.is_err());
    }
    for line in contract.lines() {
        assert_eq!(line, "GET /users/..%2Frepos%2Facme%2Fflows%3Fx=%23");
    }
}

#[tokio::test]
async fn an_address_that_may_not_be_called_is_not() {
    let network = Network::new(AddressPolicy::default());
    let refused = crate::forge::connect(access(ForgeKind::Gitea, "http://127.0.0.1:1/"), &network);
    assert_eq!(refused.unwrap_err().reason(), "AddressRefused");
}
