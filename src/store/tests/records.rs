use futures::TryStreamExt as _;

use super::*;

fn path(run: &str, uid: &str) -> RecordPath {
    let owner = Owner {
        namespace: "payments".into(),
        run: run.into(),
        uid: uid.into(),
    };
    RecordPath::of(&owner, "2026-11-30T23:59:59Z".parse().unwrap())
}

#[tokio::test]
async fn a_record_is_written_once_and_found_by_its_month() {
    let (store, _) = in_memory();
    let place = path("refund.1", "u-1");
    assert_eq!(place.to_string(), "records/payments/2026-11/refund.1.u-1.json");
    assert_eq!(place.to_string().parse(), Ok(place.clone()));
    assert_eq!(store.create_record(&place, "one".into()).await.unwrap(), None);
    let there = store.create_record(&place, "two".into()).await.unwrap();
    assert_eq!(there.unwrap(), "one");
    store.replace_record(&place, "three".into()).await.unwrap();
    assert_eq!(store.read_record(&place).await.unwrap(), "three");
    store
        .create_record(&path("refund.1", "u-2"), "other".into())
        .await
        .unwrap();
    store.keep_shown("payments", "shown".into()).await.unwrap();
    assert_eq!(store.recorded_namespaces().await.unwrap(), ["payments"]);
    assert_eq!(store.recorded_months("payments").await.unwrap(), ["2026-11"]);
    let mut found: Vec<_> = store.records("payments", "2026-11").try_collect().await.unwrap();
    found.sort();
    assert_eq!(found, [place, path("refund.1", "u-2")]);
}

#[tokio::test]
async fn records_stay_when_the_content_of_their_run_is_collected() {
    let (store, _) = in_memory();
    let place = path("refund-1", "u-1");
    store.create_record(&place, "one".into()).await.unwrap();
    store.put(&owner("u-1"), "content".into()).await.unwrap();
    store.delete(&owner("u-1")).await.unwrap();
    assert_eq!(store.read_record(&place).await.unwrap(), "one");
    assert!(store.owners("payments").await.unwrap().is_empty());
}

#[test]
fn what_could_lead_elsewhere_is_no_place() {
    for text in [
        "",
        "records/a/2026-11/b.json",
        "records/a/2026-11/b.u.txt",
        "runs/a/2026-11/b.u.json",
        "records/../2026-11/b.u.json",
        "records/a/../b.u.json",
        "records/a/2026-11/c/b.u.json",
    ] {
        assert!(text.parse::<RecordPath>().is_err(), "{text}");
    }
}
