//! What happens to a repository whose commits have to be signed.

use k8s_openapi::api::core::v1::Secret;
use kube::{
    ResourceExt as _,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use russh::keys::ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey};
use serde_json::{Value, json};
use signoff_api::{
    Approval, Flow, Release, Repository, names,
    release::{SignedObject, Verified},
};

use crate::world::{FLOW, World};

fn key() -> PrivateKey {
    PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap()
}

fn line(key: &PrivateKey) -> String {
    key.public_key().to_openssh().unwrap()
}

fn trusting(keys: &[(&str, &PrivateKey)]) -> Value {
    let keys: Vec<Value> = keys
        .iter()
        .map(|(name, key)| json!({"name": name, "ssh": line(key)}))
        .collect();
    json!({ "keys": keys })
}

async fn set_verify(world: &World, verify: Value) {
    let patch = Patch::Merge(json!({"spec": {"verify": verify}}));
    world
        .api::<Repository>()
        .patch("flows", &PatchParams::default(), &patch)
        .await
        .unwrap();
}

/// Whether the message of the `Ready` condition begins so.
fn says(repository: &Repository, begin: &str) -> bool {
    let conditions = repository.status.iter().flat_map(|status| &status.conditions);
    conditions
        .filter(|condition| condition.type_ == "Ready")
        .any(|condition| condition.message.starts_with(begin))
}

async fn verified(world: &World, release: &str) -> Option<Verified> {
    let release = world.api::<Release>().get(release).await.unwrap();
    release.spec.source.verified
}

#[tokio::test]
async fn a_signed_commit_cuts_a_release_that_says_who_signed_and_an_unsigned_one_none() {
    let world = World::start().await;
    let alice = key();
    let files = [("hello.yaml", Some(FLOW))];
    let first = world.push_signed("main", &files, &alice);
    world
        .create_repository(json!({"verify": trusting(&[("alice", &alice)])}))
        .await;
    let release = world.draft_other_than("").await;
    let expected = Verified {
        key: "alice".to_owned(),
        fingerprint: alice.public_key().fingerprint(HashAlg::Sha256).to_string(),
        object: SignedObject::Commit,
    };
    assert_eq!(verified(&world, &release).await, Some(expected));
    world.ready("Synced").await;

    let changed = FLOW.replace("x: 1", "x: 2");
    let unsigned = world.push(
        "main",
        &[
            ("hello.yaml", Some(&changed)),
            ("other.yaml", Some(&FLOW.replace("hello", "other"))),
        ],
    );
    world.sync();
    let message = world.ready("SignatureMissing").await;
    assert_eq!(
        message,
        format!(
            "nothing of refs/heads/main at {} is applied: the commit is not signed",
            &unsigned[..10]
        )
    );
    let flow = world.api::<Flow>().get("hello").await.unwrap();
    assert_eq!(
        flow.status.unwrap().draft.unwrap().release,
        release,
        "what was applied stays"
    );
    assert!(world.api::<Flow>().get_opt("other").await.unwrap().is_none());
    assert_eq!(
        world
            .api::<Release>()
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    let status = world
        .api::<Repository>()
        .get("flows")
        .await
        .unwrap()
        .status
        .unwrap();
    assert_eq!(status.draft.unwrap().commit, first);

    // what the unsigned commit brought is vouched for by whoever signs on top of it
    world.push_signed("main", &[], &alice);
    world.sync();
    let next = world.draft_other_than(&release).await;
    assert_eq!(verified(&world, &next).await.unwrap().key, "alice");
    world.ready("Synced").await;
}

#[tokio::test]
async fn a_strangers_commit_waits_until_its_key_is_added() {
    let world = World::start().await;
    let (alice, bob) = (key(), key());
    world.push_signed("main", &[("hello.yaml", Some(FLOW))], &bob);
    world
        .create_repository(json!({"verify": trusting(&[("alice", &alice)])}))
        .await;
    let message = world.ready("SignerUnknown").await;
    let print = bob.public_key().fingerprint(HashAlg::Sha256).to_string();
    assert!(
        message.contains(&format!(
            "it is signed by the key {print}, which is not among spec.verify.keys"
        )),
        "{message}"
    );
    assert!(world.api::<Flow>().get_opt("hello").await.unwrap().is_none());
    set_verify(&world, trusting(&[("alice", &alice), ("bob", &bob)])).await;
    let release = world.draft_other_than("").await;
    assert_eq!(verified(&world, &release).await.unwrap().key, "bob");
    world.ready("Synced").await;
}

#[tokio::test]
async fn nothing_is_promoted_that_is_not_signed_on_the_live_ref_and_a_bad_draft_does_not_stop_a_promotion() {
    let world = World::start().await;
    let alice = key();
    world.push_signed("main", &[("hello.yaml", Some(FLOW))], &alice);
    world.promote("main", "live");
    world
        .create_repository(json!({"live": {"ref": "live"}, "verify": trusting(&[("alice", &alice)])}))
        .await;
    let first = world.draft_other_than("").await;
    world.until_live(&first).await;

    let changed = FLOW.replace("x: 1", "x: 2");
    world.push_signed("main", &[("hello.yaml", Some(&changed))], &alice);
    world.push("live", &[("hello.yaml", Some(&changed))]);
    world.sync();
    let second = world.draft_other_than(&first).await;
    let message = world.ready("SignatureMissing").await;
    assert!(message.starts_with("nothing of refs/heads/live at "), "{message}");
    let flow = world.api::<Flow>().get("hello").await.unwrap();
    assert_eq!(flow.spec.live.as_deref(), Some(first.as_str()));

    world.promote("main", "live");
    world.push("main", &[("hello.yaml", Some(&FLOW.replace("x: 1", "x: 3")))]);
    world.sync();
    world.until_live(&second).await;
    world
        .until::<Repository>("flows", |it| says(it, "nothing of refs/heads/main at "))
        .await;
    let flow = world.api::<Flow>().get("hello").await.unwrap();
    assert_eq!(flow.status.unwrap().draft.unwrap().release, second);
}

#[tokio::test]
async fn a_live_tag_is_vouched_for_by_its_own_signature() {
    let world = World::start().await;
    let alice = key();
    let commit = world.push_signed("main", &[("hello.yaml", Some(FLOW))], &alice);
    let mut verify = trusting(&[("alice", &alice)]);
    verify["mode"] = json!("Tag");
    let target: git2::Oid = commit.parse().unwrap();
    // a plain tag carries no signature, though its commit does
    world.git.reference("refs/tags/v1", target, true, "tag").unwrap();
    world
        .create_repository(json!({"live": {"ref": "refs/tags/v1"}, "verify": verify}))
        .await;
    let draft = world.draft_other_than("").await;
    let message = world.ready("SignatureMissing").await;
    assert!(
        message.contains("refs/tags/v1 is not an annotated tag"),
        "{message}"
    );

    let text = format!(
        "object {commit}\ntype commit\ntag v1\ntagger Dev <dev@example.com> 1700000000 +0000\n\nOne\n"
    );
    let signature = alice.sign("git", HashAlg::Sha256, text.as_bytes()).unwrap();
    let text = text + &signature.to_pem(LineEnding::LF).unwrap();
    let tag = world
        .git
        .odb()
        .unwrap()
        .write(git2::ObjectType::Tag, text.as_bytes())
        .unwrap();
    world.git.reference("refs/tags/v1", tag, true, "tag").unwrap();
    world.sync();
    world.until_live(&draft).await;
    world.ready("Synced").await;
}

#[tokio::test]
async fn turning_verification_on_names_who_vouches_for_what_was_there_and_a_bad_key_is_told() {
    let world = World::start().await;
    let alice = key();
    world.push_signed("main", &[("hello.yaml", Some(FLOW))], &alice);
    world.create_repository(json!({})).await;
    let release = world.draft_other_than("").await;
    assert_eq!(verified(&world, &release).await, None);

    set_verify(
        &world,
        json!({"keys": [{"name": "alice", "ssh": "ssh-ed25519 nonsense"}]}),
    )
    .await;
    let message = world.ready("InvalidVerifyKey").await;
    assert!(
        message.starts_with("the key \"alice\" of spec.verify.keys cannot be used"),
        "{message}"
    );
    set_verify(
        &world,
        json!({"keys": [{"name": "team", "secretRef": {"name": "team", "key": "keys"}}]}),
    )
    .await;
    world.ready("SecretNotFound").await;
    let secret = json!({"metadata": {"name": "team"}, "stringData": {"keys": format!("# the team\n{}\n", line(&alice))}});
    let secret: Secret = serde_json::from_value(secret).unwrap();
    world
        .api::<Secret>()
        .create(&PostParams::default(), &secret)
        .await
        .unwrap();
    world.sync();
    world.ready("Synced").await;
    let vouched = |flow: &Flow| {
        flow.annotations()
            .get(names::SOURCE)
            .is_some_and(|source| source.contains(r#""key":"team""#))
    };
    world.until::<Flow>("hello", vouched).await;
}

#[tokio::test]
async fn keys_are_named_apart_and_each_has_one_form() {
    let world = World::start().await;
    let alice = key();
    world.push_signed("main", &[("hello.yaml", Some(FLOW))], &alice);
    world.create_repository(json!({})).await;
    for (keys, why) in [
        (json!([]), "spec.verify.keys"),
        (
            json!([{"name": "a", "ssh": line(&alice)}, {"name": "a", "ssh": line(&alice)}]),
            "the names of the keys differ",
        ),
        (
            json!([{"name": "a", "ssh": line(&alice), "openpgp": "x"}]),
            "spec.verify.keys[0]",
        ),
        (json!([{"name": "a"}]), "spec.verify.keys[0]"),
    ] {
        let patch = Patch::Merge(json!({"spec": {"verify": {"keys": keys}}}));
        let refused = world
            .api::<Repository>()
            .patch("flows", &PatchParams::default(), &patch)
            .await
            .unwrap_err()
            .to_string();
        assert!(refused.contains(why), "{refused}");
    }
}

#[tokio::test]
async fn whose_key_vouches_for_a_release_is_who_wrote_it_where_keys_have_users() {
    let world = World::start().await;
    let laptop = key();
    world.push_signed("main", &[("hello.yaml", Some(FLOW))], &laptop);
    world
        .create_repository(json!({
            "verify": trusting(&[("laptop", &laptop)]),
            "identities": {"keys": [{"key": "laptop", "user": "bob"}]},
            "promotion": {"approval": {"quorum": 1}},
        }))
        .await;
    let release = world.draft_other_than("").await;
    world.ready("Synced").await;
    let wish = Patch::Merge(json!({"spec": {"live": release}}));
    let flows = world.api::<Flow>();
    flows
        .patch("hello", &PatchParams::default(), &wish)
        .await
        .unwrap();
    let name = names::promotion_approval_name(&release, 1, "repository");
    let question = world.until::<Approval>(&name, |_| true).await.spec;
    assert_eq!(question.written_by, ["bob"]);
    assert_eq!(question.requested_by.as_deref(), Some("admin"));
    assert!(
        question.author.is_some(),
        "the claim of the commit stays beside it"
    );
}
