//! Which account holds an identity at which instant, with and without the cache (P28).

use turnpike_store::memory::MemoryDatabase;
use turnpike_store::{BindOutcome, Binding, IdentityStore};

use super::*;

fn binding(account: u64, from: i64, until: i64) -> Binding {
    Binding {
        identity: "ip:192.0.2.1".to_owned(),
        account: AccountNumber(account),
        from: Timestamp(from),
        until: Timestamp(until),
    }
}

/// P28: an interval includes its start and excludes its end. Between two intervals the identity is
/// unbound.
#[test]
fn p28_a_binding_holds_from_its_beginning_to_just_before_its_end() {
    let bindings = vec![binding(1, 100, 200), binding(2, 200, 300), binding(3, 400, 500)];
    let history = IdentityHistory { bindings, ..IdentityHistory::default() };
    let expected = [
        (i64::MIN, None),
        (99, None),
        (100, Some(1)),
        (199, Some(1)),
        (200, Some(2)),
        (299, Some(2)),
        (300, None),
        (399, None),
        (400, Some(3)),
        (499, Some(3)),
        (500, None),
        (i64::MAX, None),
    ];
    for (start, account) in expected {
        let found = bound_at(&history, Timestamp(start));
        assert_eq!(found, account.map(AccountNumber), "a record that starts at {start}");
    }
    assert_eq!(bound_at(&IdentityHistory::default(), Timestamp(100)), None);
}

async fn bind(db: &MemoryDatabase, new: Binding) {
    assert_eq!(db.bind_identities(&[new]).await.unwrap(), [BindOutcome::Bound]);
}

/// P28: a history that was cached before a binding was made is not used for a start inside that
/// binding, whatever other starts are requested with it.
#[tokio::test]
async fn p28_every_start_that_a_cached_history_does_not_cover_is_looked_up() {
    for known in [vec![150], vec![]] {
        let db = Arc::new(MemoryDatabase::new());
        let guide = Guide::new(Arc::clone(&db) as Arc<dyn IdentityStore>, 1 << 20);
        let ask = async |starts: &[i64]| {
            let starts: Vec<Timestamp> = starts.iter().copied().map(Timestamp).collect();
            let asked = [("ip:192.0.2.1".to_owned(), starts.clone())].into();
            let found = guide.histories(asked).await.unwrap();
            let history = &found["ip:192.0.2.1"];
            starts.iter().map(|at| bound_at(history, *at).map(|a| a.0)).collect::<Vec<_>>()
        };
        bind(&db, binding(1, 100, 200)).await;
        assert_eq!(ask(&[150]).await, [Some(1)]);
        assert_eq!(ask(&[250]).await, [None]);
        bind(&db, binding(2, 200, 300)).await;
        let mut starts = known.clone();
        starts.push(250);
        let mut expected: Vec<_> = known.iter().map(|_| Some(1)).collect();
        expected.push(Some(2));
        assert_eq!(ask(&starts).await, expected, "together with {known:?}");
    }
}

/// P28: each of many identities requested together gets its own history, cached or not.
#[tokio::test]
async fn p28_each_identity_is_guided_by_its_own_history() {
    let db = Arc::new(MemoryDatabase::new());
    let guide = Guide::new(Arc::clone(&db) as Arc<dyn IdentityStore>, 1 << 20);
    let identity = |n: u64| format!("tel:{}", n * 7919 % 1000);
    for account in 1..=20 {
        bind(&db, Binding { identity: identity(account), ..binding(account, 0, 10) }).await;
    }
    for known in [3, 20, 20] {
        let asked = (1..=known).map(|n| (identity(n), vec![Timestamp(5)])).collect();
        let found = guide.histories(asked).await.unwrap();
        assert_eq!(found.len() as u64, known);
        for account in 1..=known {
            let bound = bound_at(&found[&identity(account)], Timestamp(5));
            assert_eq!(bound, Some(AccountNumber(account)));
        }
    }
}
