//! Plans (P36).

use turnpike_types::{Incarnation, NodeName};

use super::Subject;
use crate::{NodeBeat, PublishOutcome, PublishPlan, SharedDatabase, StoreError};

fn plan(id: &str, version: u32, starts: &str, supersedes: Option<u32>) -> PublishPlan {
    PublishPlan {
        plan_id: id.to_owned(),
        version,
        starts: starts.to_owned(),
        supersedes,
        content_hash: [u8::try_from(version).unwrap(); 32],
        xml: format!("<plan id='{id}' version='{version}'/>"),
    }
}

/// The same content again is no error, other content is refused.
pub async fn versions_are_immutable(s: &Subject) {
    let db = s.view().await;
    let first = plan("gold", 1, "2026-01-01", None);
    assert_eq!(db.publish_plan(&first).await.unwrap(), PublishOutcome::Published(1));
    let again = s.view().await.publish_plan(&first).await.unwrap();
    assert_eq!(again, PublishOutcome::Already(1));
    let mut other = first.clone();
    other.content_hash = [9; 32];
    assert_eq!(db.publish_plan(&other).await.unwrap(), PublishOutcome::Immutable);
    let entries = db.catalogue_since(0).await.unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].xml.as_str(), entries[0].content_hash), (first.xml.as_str(), [1; 32]));
}

/// And what is superseded can't be superseded again, nor what is not there.
pub async fn one_start_has_one_version_unless_it_is_superseded(s: &Subject) {
    let db = s.view().await;
    let publish = async |version, starts, supersedes| {
        db.publish_plan(&plan("gold", version, starts, supersedes)).await
    };
    let published = PublishOutcome::Published;
    assert_eq!(publish(1, "2026-01-01", None).await.unwrap(), published(1));
    let same = PublishOutcome::SameStart;
    assert_eq!(publish(2, "2026-01-01", None).await.unwrap(), same(1));
    assert_eq!(publish(2, "2026-01-01", Some(1)).await.unwrap(), published(2));
    assert_eq!(publish(3, "2026-01-01", Some(1)).await.unwrap(), same(2));
    assert_eq!(publish(3, "2026-02-01", None).await.unwrap(), published(3));
    let wrong = publish(4, "2026-03-01", Some(1)).await;
    assert!(matches!(wrong, Err(StoreError::Refused(_))), "{wrong:?}");
    let other_plan = db.publish_plan(&plan("silver", 1, "2026-01-01", None)).await.unwrap();
    assert_eq!(other_plan, published(4));
}

/// Every reader at every moment sees versions 1 to n; of two with one start, one goes in.
pub async fn publishers_at_once_make_a_catalogue_without_gaps(s: &Subject) {
    let mut publishers = Vec::new();
    for n in 0..4u32 {
        let view = s.view().await;
        publishers.push(tokio::spawn(async move {
            let mut made = Vec::new();
            for version in 1..=5u32 {
                let own = plan(&format!("p{n}"), version, &format!("2026-0{version}-01"), None);
                made.push(view.publish_plan(&own).await.unwrap());
                let rival = plan("shared", n * 10 + version, &format!("2026-0{version}-01"), None);
                let outcome = view.publish_plan(&rival).await.unwrap();
                if matches!(outcome, PublishOutcome::Published(_)) {
                    made.push(outcome);
                }
            }
            made
        }));
    }
    let reader = s.view().await;
    while !publishers.iter().all(tokio::task::JoinHandle::is_finished) {
        is_whole(&*reader).await;
        tokio::task::yield_now().await;
    }
    let mut made = Vec::new();
    for publisher in publishers {
        for outcome in publisher.await.unwrap() {
            match outcome {
                PublishOutcome::Published(version) => made.push(version),
                other => panic!("{other:?}"),
            }
        }
    }
    made.sort_unstable();
    assert_eq!(made, (1..=25).collect::<Vec<u64>>());
    assert_eq!(is_whole(&*reader).await, 25);
}

async fn is_whole(db: &dyn SharedDatabase) -> u64 {
    let entries = db.catalogue_since(0).await.unwrap();
    let versions = entries.iter().map(|entry| entry.catalogue_version);
    assert!(versions.eq(1..=entries.len() as u64), "a gap in the catalogue");
    entries.len() as u64
}

/// The version comes with every heartbeat.
pub async fn a_publication_is_seen_by_heartbeat_observation_and_reader(s: &Subject) {
    let (db, other) = (s.view().await, s.view().await);
    let beat = NodeBeat {
        node: NodeName("a".to_owned()),
        incarnation: Incarnation(1),
        counter: 1,
        address: String::new(),
        draining: false,
        serving: Vec::new(),
    };
    assert_eq!(other.heartbeat(&beat).await.unwrap().catalogue_version, 0);
    for version in 1..=3 {
        let published = plan("gold", version, &format!("2026-0{version}-01"), None);
        db.publish_plan(&published).await.unwrap();
        let beat = NodeBeat { counter: u64::from(version) + 1, ..beat.clone() };
        let reply = other.heartbeat(&beat).await.unwrap();
        assert_eq!(reply.catalogue_version, u64::from(version));
    }
    assert_eq!(other.observe().await.unwrap().catalogue_version, 3);
    let news: Vec<u32> =
        other.catalogue_since(1).await.unwrap().iter().map(|entry| entry.version).collect();
    assert_eq!(news, [2, 3]);
}
