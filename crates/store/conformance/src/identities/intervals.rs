//! Intervals of bindings (P28): they never overlap, and look-ups return them.

use turnpike_store::{BindOutcome, Binding, StoreError};
use turnpike_types::{AccountNumber, Timestamp};

use crate::TestedStore;

pub(super) const OPEN: i64 = i64::MAX;

pub(super) fn binding(identity: &str, account: u64, from: i64, until: i64) -> Binding {
    Binding {
        identity: identity.to_owned(),
        account: AccountNumber(account),
        from: Timestamp(from),
        until: Timestamp(until),
    }
}

/// Intervals are half open. Adding the same binding again is no error.
pub async fn identities_are_bound_for_intervals_that_never_overlap(s: &TestedStore) {
    let db = s.view().await;
    let asked = [
        binding("ip:192.0.2.1", 1, 100, 200),
        binding("ip:192.0.2.1", 2, 200, OPEN),
        binding("ip:192.0.2.1", 1, 100, 200),
        binding("ip:192.0.2.1", 3, 150, 160),
        binding("ip:192.0.2.1", 3, 50, 101),
        binding("ip:192.0.2.1", 3, 300, 400),
        binding("ip:192.0.2.1", u64::MAX, i64::MIN, 100),
        binding("tel:1", 3, 150, 160),
    ];
    let outcomes = db.bind_identities(&asked).await.unwrap();
    let taken = |place: usize| BindOutcome::Taken(asked[place].clone());
    let bound = BindOutcome::Bound;
    let expected = [bound.clone(), bound.clone(), BindOutcome::Already];
    assert_eq!(outcomes[..3], expected);
    assert_eq!(outcomes[3..6], [taken(0), taken(0), taken(1)]);
    assert_eq!(outcomes[6..], [bound.clone(), bound]);
    let again = s.view().await.bind_identities(&asked[1..2]).await.unwrap();
    assert_eq!(again, [BindOutcome::Already]);
    let history = db.guide(&["ip:192.0.2.1".to_owned()]).await.unwrap();
    let expected = [asked[6].clone(), asked[0].clone(), asked[1].clone()];
    assert_eq!(history[0].bindings, expected);
}

/// Eight processes bind the same address; one succeeds.
pub async fn binders_at_once_never_overlap(s: &TestedStore) {
    let mut binders = Vec::new();
    for n in 0..8u64 {
        let view = s.view().await;
        binders.push(tokio::spawn(async move {
            let from = i64::try_from(n).unwrap();
            view.bind_identities(&[binding("user:x", n + 1, from, OPEN)]).await.unwrap()
        }));
    }
    let mut bound = 0;
    for binder in binders {
        bound += binder.await.unwrap().iter().filter(|o| **o == BindOutcome::Bound).count();
    }
    assert_eq!(bound, 1);
    let history = s.view().await.guide(&["user:x".to_owned()]).await.unwrap();
    assert_eq!(history[0].bindings.len(), 1);
}

/// Valid bindings earlier in the same call are not written either.
pub async fn a_binding_that_can_never_be_valid_is_refused_and_nothing_is_written(s: &TestedStore) {
    let db = s.view().await;
    let good = binding("user:x", 1, 1, 2);
    let long = binding(&"x".repeat(257), 1, 1, 2);
    let wrong = [binding("user:y", 1, 5, 5), binding("", 1, 1, 2), binding("u", 0, 1, 2), long];
    for wrong in wrong {
        let refused = db.bind_identities(&[good.clone(), wrong]).await;
        assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    }
    assert!(db.guide(&["user:x".to_owned()]).await.unwrap()[0].bindings.is_empty());
    assert!(db.bind_identities(&[]).await.unwrap().is_empty());
}

/// An unknown identity has an empty history; an identity asked for twice is returned twice.
pub async fn histories_are_returned_in_the_order_of_the_request(s: &TestedStore) {
    let db = s.view().await;
    let (x, y) = (binding("user:x", 1, 1, 2), binding("user:y", 2, 1, 2));
    db.bind_identities(&[x.clone(), y.clone()]).await.unwrap();
    let asked = ["user:y", "user:none", "user:x", "user:y"].map(str::to_owned);
    let found: Vec<Vec<Binding>> =
        db.guide(&asked).await.unwrap().into_iter().map(|guided| guided.bindings).collect();
    assert_eq!(found, [vec![y.clone()], vec![], vec![x], vec![y]]);
    assert!(db.guide(&[]).await.unwrap().is_empty());
}
