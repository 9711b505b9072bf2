//! Bindings of identities to accounts over time (P28): spellings, prefixes, moves and releases.

use turnpike_store::{
    BindOutcome, Binding, CatalogueKind, IdentityHistory, RebindOutcome, Rebinding, SharedDatabase,
    StoreError,
};
use turnpike_types::limits::IDENTITY_BINDINGS_MAX;
use turnpike_types::{AccountNumber, NodeName, Timestamp};

use super::intervals::{OPEN, binding};
use crate::{Dice, TestedStore};

const EVER: i64 = i64::MIN;

fn moved(identity: &str, account: u64, from: i64, until: i64) -> Rebinding {
    let final_before = Timestamp(EVER);
    Rebinding::Move { binding: binding(identity, account, from, until), final_before }
}

fn released(identity: &str, account: u64, from: i64, until: i64) -> Rebinding {
    let final_before = Timestamp(EVER);
    Rebinding::Release { binding: binding(identity, account, from, until), final_before }
}

async fn rebind(db: &dyn SharedDatabase, change: Rebinding) -> RebindOutcome {
    db.rebind_identities(&[change]).await.unwrap().remove(0)
}

async fn guided(db: &dyn SharedDatabase, identity: &str) -> IdentityHistory {
    db.guide(&[identity.to_owned()]).await.unwrap().remove(0)
}

/// The account that holds the identity at an instant, by `bindings` sorted by start.
fn holder(bindings: &[Binding], at: i64) -> Option<u64> {
    let found = bindings.iter().find(|one| one.from.0 <= at && at < one.until.0);
    found.map(|one| one.account.0)
}

/// Two spellings denote one identity, both in bindings and in look-ups.
pub async fn two_spellings_of_an_identity_are_one(s: &TestedStore) {
    let db = s.view().await;
    let asked = [
        binding("ip:2001:DB8:0:0::99", 1, EVER, OPEN),
        binding("ip:2001:db8::99", 2, EVER, OPEN),
        binding("ip:::ffff:198.51.100.8", 3, EVER, OPEN),
        binding("ip:198.51.100.8/32", 4, 5, 6),
        binding("tel:+41 44 123", 5, 0, 10),
        binding("tel:+4144123", 5, 0, 10),
        binding("user:Alice", 6, 0, 10),
        binding("user:alice", 7, 0, 10),
    ];
    let outcomes = db.bind_identities(&asked).await.unwrap();
    let first = binding("ip:2001:db8::99", 1, EVER, OPEN);
    let third = binding("ip:198.51.100.8", 3, EVER, OPEN);
    let (bound, already) = (BindOutcome::Bound, BindOutcome::Already);
    assert_eq!(outcomes[..2], [bound.clone(), BindOutcome::Taken(first.clone())]);
    assert_eq!(outcomes[2..4], [bound.clone(), BindOutcome::Taken(third.clone())]);
    assert_eq!(outcomes[4..], [bound.clone(), already, bound.clone(), bound]);
    for spelling in ["ip:2001:db8::99", "ip:2001:0DB8::0099", "ip:2001:DB8:0:0:0:0:0:99/128"] {
        let found = guided(&*db, spelling).await.bindings;
        assert_eq!(found, std::slice::from_ref(&first), "{spelling}");
    }
    assert_eq!(guided(&*db, "ip:::ffff:c633:6408").await.bindings, [third]);
    assert_eq!(guided(&*db, "tel:+41-44-123").await.bindings.len(), 1);
    assert_eq!(
        guided(&*db, "user:ALICE").await,
        IdentityHistory::default(),
        "user names are case-sensitive"
    );
    // Text that the present rules do not accept may be bound by an older release; its own text is
    // the key.
    db.bind_identities(&[binding("ip:old-name", 8, 0, 1)]).await.unwrap();
    assert_eq!(holder(&guided(&*db, "ip:old-name").await.bindings, 0), Some(8));
}

/// The result holds exactly the prefixes that contain the address, longest first.
pub async fn an_address_is_found_with_the_prefixes_that_hold_it(s: &TestedStore) {
    let db = s.view().await;
    let asked = [
        binding("ip:198.51.100.0/24", 1, EVER, OPEN),
        binding("ip:198.51.100.8/29", 2, 100, 200),
        binding("ip:198.51.100.8/30", 3, 100, OPEN),
        binding("ip:198.51.100.9", 4, 150, OPEN),
        binding("ip:203.0.113.0/29", 5, EVER, OPEN),
        binding("ip:2001:db8:0:100::/56", 6, EVER, OPEN),
        binding("ip:::/0", 7, EVER, OPEN),
    ];
    let outcomes = db.bind_identities(&asked).await.unwrap();
    assert!(outcomes.iter().all(|outcome| *outcome == BindOutcome::Bound), "{outcomes:?}");
    let all = ["ip:198.51.100.9", "ip:198.51.100.15", "ip:198.51.100.200", "ip:192.0.2.1"];
    let all = [&all[..], &["ip:2001:db8:0:1ff::1", "ip:2001:db8:0:200::1", "user:x"]].concat();
    let all: Vec<String> = all.into_iter().map(str::to_owned).collect();
    let found = s.view().await.guide(&all).await.unwrap();
    let places = |guided: &IdentityHistory| -> Vec<u64> {
        guided
            .bindings
            .iter()
            .chain(guided.prefixes.iter().flatten())
            .map(|b| b.account.0)
            .collect()
    };
    let found: Vec<Vec<u64>> = found.iter().map(places).collect();
    assert_eq!(found[..4], [vec![4, 3, 2, 1], vec![2, 1], vec![1], vec![]]);
    assert_eq!(found[4..], [vec![6, 7], vec![7], vec![]]);
    let inner = guided(&*db, "ip:198.51.100.8/30").await;
    assert_eq!(places(&inner), [3, 2, 1], "shorter prefixes contain a prefix");
}

/// Intervals are half open: the former account holds the identity until just before the instant,
/// the next account from the instant on. Every view sees the move at once.
pub async fn at_the_instant_of_a_move_the_next_account_holds_the_identity(s: &TestedStore) {
    let db = s.view().await;
    db.bind_identities(&[binding("ip:192.0.2.1", 1, EVER, OPEN)]).await.unwrap();
    let taken = rebind(&*db, Rebinding::Bind(binding("ip:192.0.2.1", 2, 100, OPEN))).await;
    assert_eq!(taken, RebindOutcome::Taken(binding("ip:192.0.2.1", 1, EVER, OPEN)));
    let changed = rebind(&*db, moved("ip:::ffff:192.0.2.1", 2, 100, OPEN)).await;
    assert_eq!(changed, RebindOutcome::Changed(vec![binding("ip:192.0.2.1", 1, 100, OPEN)]));
    assert_eq!(rebind(&*db, moved("ip:192.0.2.1", 2, 100, OPEN)).await, RebindOutcome::Already);
    let bindings = guided(&*s.view().await, "ip:192.0.2.1").await.bindings;
    let held = [EVER, 99, 100, OPEN - 1].map(|at| holder(&bindings, at));
    assert_eq!(held, [Some(1), Some(1), Some(2), Some(2)]);
    // A move for a limited interval: after the interval, the former account holds the identity
    // again.
    rebind(&*db, moved("ip:192.0.2.1", 3, 40, 60)).await;
    let bindings = guided(&*db, "ip:192.0.2.1").await.bindings;
    let held = [39, 40, 59, 60, 99, 100].map(|at| holder(&bindings, at));
    assert_eq!(held, [Some(1), Some(3), Some(3), Some(1), Some(1), Some(2)]);
    // A move whose interval covers several bindings, one of which belongs to the same account.
    let over_all = rebind(&*db, moved("ip:192.0.2.1", 3, 50, 200)).await;
    let taken = vec![binding("ip:192.0.2.1", 1, 60, 100), binding("ip:192.0.2.1", 2, 100, 200)];
    assert_eq!(over_all, RebindOutcome::Changed(taken));
    let bindings = guided(&*db, "ip:192.0.2.1").await.bindings;
    let held = [39, 40, 50, 199, 200].map(|at| holder(&bindings, at));
    assert_eq!(held, [Some(1), Some(3), Some(3), Some(3), Some(2)]);
}

/// Records in an interval that a change takes away may have been rated for the former account, so
/// the account that look-ups found first is remembered.
pub async fn the_account_that_look_ups_found_first_is_remembered(s: &TestedStore) {
    let db = s.view().await;
    let first = async |identity: &str, at: i64| {
        let found = guided(&*s.view().await, identity).await.first_holders;
        assert!(found.windows(2).all(|pair| pair[0].until <= pair[1].from), "{found:?}");
        holder(&found, at)
    };
    db.bind_identities(&[binding("user:x", 1, 0, OPEN)]).await.unwrap();
    assert_eq!(first("user:x", 50).await, None, "it never changed hands");
    rebind(&*db, moved("user:x", 2, 100, OPEN)).await;
    assert_eq!((first("user:x", 99).await, first("user:x", 100).await), (None, Some(1)));
    rebind(&*db, moved("user:x", 3, 150, 200)).await;
    rebind(&*db, moved("user:x", 1, 100, OPEN)).await;
    for at in [100, 150, 199, 200] {
        assert_eq!(first("user:x", at).await, Some(1), "the first one, at {at}");
    }
    rebind(&*db, released("user:x", 1, 50, 60)).await;
    assert_eq!((first("user:x", 49).await, first("user:x", 59).await), (None, Some(1)));
    // Another account binds the identity again, and then the first account does.
    rebind(&*db, moved("user:x", 2, 50, 60)).await;
    rebind(&*db, moved("user:x", 1, 50, 60)).await;
    assert_eq!(first("user:x", 50).await, Some(1));
    // No first account is remembered for an interval that no account held, and the first binding of
    // such an interval does not change this.
    assert_eq!(first("user:x", -1).await, None);
    rebind(&*db, moved("user:x", 5, -10, 0)).await;
    assert_eq!(first("user:x", -1).await, None);
    // No record with such a late start has arrived before the change.
    rebind(&*db, moved("user:x", 2, i64::MAX / 2, OPEN)).await;
    assert_eq!(first("user:x", i64::MAX / 2).await, None);
    // A binding that a later change of the same call moves away was never in force, and is not
    // remembered.
    let both = [moved("user:y", 7, 0, OPEN), moved("user:y", 8, 0, OPEN)];
    db.rebind_identities(&both).await.unwrap();
    assert_eq!(first("user:y", 5).await, None);
}

/// An address belongs to the account of its prefix until the address itself, or a longer prefix, is
/// bound.
pub async fn the_first_account_of_an_address_may_be_that_of_a_prefix(s: &TestedStore) {
    let db = s.view().await;
    let first =
        async |at: i64| holder(&guided(&*s.view().await, "ip:192.0.2.9").await.first_holders, at);
    db.bind_identities(&[binding("ip:192.0.2.0/24", 1, 0, OPEN)]).await.unwrap();
    db.bind_identities(&[binding("ip:192.0.2.8/29", 2, 10, 20)]).await.unwrap();
    assert_eq!((first(9).await, first(10).await, first(20).await), (None, Some(1), None));
    db.bind_identities(&[binding("ip:192.0.2.9", 3, 15, 30)]).await.unwrap();
    assert_eq!((first(15).await, first(20).await, first(30).await), (Some(1), Some(1), None));
    rebind(&*db, released("ip:192.0.2.9", 3, 15, 30)).await;
    rebind(&*db, released("ip:192.0.2.8/29", 2, 10, 20)).await;
    assert_eq!((first(15).await, first(25).await, first(30).await), (Some(1), Some(1), None));
    // The binding of a shorter prefix changes nothing for an address within a longer bound prefix.
    db.bind_identities(&[binding("ip:192.0.0.0/16", 4, 0, OPEN)]).await.unwrap();
    assert_eq!(first(5).await, None);
}

/// A release may run from an instant on, or cover an interval in the middle of a binding.
pub async fn a_released_identity_is_unbound_and_may_be_bound_again(s: &TestedStore) {
    let db = s.view().await;
    db.bind_identities(&[binding("user:x", 1, EVER, OPEN)]).await.unwrap();
    let changed = rebind(&*db, released("user:x", 1, 100, OPEN)).await;
    assert_eq!(changed, RebindOutcome::Changed(vec![binding("user:x", 1, 100, OPEN)]));
    assert_eq!(rebind(&*db, released("user:x", 1, 100, OPEN)).await, RebindOutcome::Already);
    assert_eq!(guided(&*db, "user:x").await.bindings, [binding("user:x", 1, EVER, 100)]);
    let again = db.bind_identities(&[binding("user:x", 3, EVER, OPEN)]).await.unwrap();
    assert_eq!(again, [BindOutcome::Taken(binding("user:x", 1, EVER, 100))]);
    let next = rebind(&*db, Rebinding::Bind(binding("user:x", 2, 100, OPEN))).await;
    assert_eq!(next, RebindOutcome::Changed(vec![]));
    rebind(&*db, released("user:x", 1, 10, 20)).await;
    let bindings = guided(&*db, "user:x").await.bindings;
    let held = [9, 10, 19, 20, 99, 100].map(|at| holder(&bindings, at));
    assert_eq!(held, [Some(1), None, None, Some(1), Some(1), Some(2)]);
    // A release of a whole binding.
    rebind(&*db, released("user:x", 2, EVER, OPEN)).await;
    let bindings = guided(&*db, "user:x").await.bindings;
    assert_eq!((holder(&bindings, 99), holder(&bindings, 100)), (Some(1), None));
}

/// Each look-up of an identity reads all its rows, also those that a change took away.
pub async fn an_identity_has_a_bounded_number_of_bindings(s: &TestedStore) {
    let db = s.view().await;
    let half = i64::try_from(IDENTITY_BINDINGS_MAX / 2).unwrap();
    let bind_many = async |from: i64, until: i64| {
        let asked: Vec<Binding> =
            (from..until).map(|at| binding("user:x", 1, 2 * at, 2 * at + 1)).collect();
        let outcomes = db.bind_identities(&asked).await.unwrap();
        assert_eq!(outcomes.iter().filter(|one| **one != BindOutcome::Bound).count(), 0);
    };
    bind_many(0, half).await;
    // The move takes them all away, and adds one.
    let all = rebind(&*db, moved("user:x", 2, 0, OPEN)).await;
    assert!(
        matches!(all, RebindOutcome::Changed(taken) if taken.len() == IDENTITY_BINDINGS_MAX / 2)
    );
    let last = rebind(&*db, released("user:x", 2, 0, OPEN)).await;
    assert!(matches!(last, RebindOutcome::Changed(taken) if taken.len() == 1));
    bind_many(half, 2 * half - 1).await;
    let before = guided(&*db, "user:x").await;
    let (first, next) = (2 * half, 4 * half);
    let another = binding("user:x", 1, next, next + 1);
    let too_many = [another.clone(), binding("user:y", 1, 0, 1), another.clone()];
    let full = [BindOutcome::Full, BindOutcome::Bound, BindOutcome::Full];
    assert_eq!(db.bind_identities(&too_many).await.unwrap(), full);
    assert_eq!(rebind(&*db, Rebinding::Bind(another)).await, RebindOutcome::Full);
    let away = moved("user:x", 2, first, first + 1);
    assert_eq!(rebind(&*db, away.clone()).await, RebindOutcome::Full);
    assert_eq!(guided(&*db, "user:x").await, before, "refused changes change nothing");
    let known = binding("user:x", 1, first, first + 1);
    assert_eq!(db.bind_identities(&[known]).await.unwrap(), [BindOutcome::Already]);
    // It can be taken from its accounts, up to a further limit.
    let wide = rebind(&*db, released("user:x", 1, first + 2, OPEN)).await;
    assert!(
        matches!(wide, RebindOutcome::Changed(taken) if taken.len() + 2 == IDENTITY_BINDINGS_MAX / 2)
    );
    assert_eq!(rebind(&*db, away).await, RebindOutcome::Full);
    assert_eq!(guided(&*db, "user:x").await.bindings, [binding("user:x", 1, first, first + 1)]);
}

/// A refused change changes nothing, and its outcome names the binding that is the reason.
pub async fn a_final_interval_does_not_change_and_an_unbound_identity_is_not_released(
    s: &TestedStore,
) {
    let db = s.view().await;
    let held = binding("user:x", 1, 50, OPEN);
    let only = std::slice::from_ref(&held);
    db.bind_identities(only).await.unwrap();
    let final_before = Timestamp(100);
    let early = binding("user:x", 2, 99, 200);
    let release = Rebinding::Release {
        binding: Binding { account: held.account, ..early.clone() },
        final_before,
    };
    let late = Rebinding::Move { binding: binding("user:x", 2, 100, 200), final_before };
    let early = Rebinding::Move { binding: early, final_before };
    let is_final = RebindOutcome::Final(held.clone());
    assert_eq!(rebind(&*db, early).await, is_final);
    assert_eq!(rebind(&*db, release).await, is_final);
    assert_eq!(guided(&*db, "user:x").await.bindings, only);
    assert!(matches!(rebind(&*db, late).await, RebindOutcome::Changed(_)));
    // An interval that no account held may be bound even before the final instant.
    let before = Rebinding::Move { binding: binding("user:x", 2, 0, 50), final_before };
    assert_eq!(rebind(&*db, before).await, RebindOutcome::Changed(vec![]));
    let not_held = rebind(&*db, released("user:x", 3, 100, 110)).await;
    assert_eq!(not_held, RebindOutcome::NotHeld(Some(binding("user:x", 2, 100, 200))));
    let unknown = rebind(&*db, released("user:y", 3, 100, 110)).await;
    assert_eq!(unknown, RebindOutcome::NotHeld(None));
    for wrong in [moved("user:x", 1, 5, 5), moved("", 1, 5, 6), moved("user:x", 0, 5, 6)] {
        let refused = db.rebind_identities(&[released("user:x", 1, 300, OPEN), wrong]).await;
        assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    }
    assert_eq!(holder(&guided(&*db, "user:x").await.bindings, 300), Some(1));
    // In one call, each change is checked against the result of the earlier ones.
    let both = [released("user:x", 1, 300, OPEN), moved("user:x", 4, 300, OPEN)];
    let both = db.rebind_identities(&both).await.unwrap();
    assert_eq!(both[1], RebindOutcome::Changed(vec![]));
}

/// The version stays the same after changes that can't alter the result of a look-up.
pub async fn the_version_changes_with_each_change_that_may_alter_an_answer(s: &TestedStore) {
    let db = s.view().await;
    let mut last = db.bindings_mark().await.unwrap().version;
    let mut differs = async |db: &dyn SharedDatabase| {
        let now = db.bindings_mark().await.unwrap().version;
        std::mem::replace(&mut last, now) != now
    };
    db.bind_identities(&[binding("ip:192.0.2.1", 1, 0, 10)]).await.unwrap();
    db.bind_identities(&[binding("user:x", 1, 0, OPEN)]).await.unwrap();
    db.bind_identities(&[binding("user:x", 2, 0, OPEN)]).await.unwrap();
    assert!(!differs(&*db).await, "the result for these was: unbound");
    rebind(&*db, moved("user:x", 2, 5, OPEN)).await;
    assert!(differs(&*s.view().await).await, "a move");
    rebind(&*db, moved("user:x", 2, 5, OPEN)).await;
    assert!(!differs(&*db).await, "the history already was as asked");
    rebind(&*db, released("user:x", 2, 7, OPEN)).await;
    assert!(differs(&*db).await, "a release");
    db.bind_identities(&[binding("ip:192.0.2.0/24", 3, 0, OPEN)]).await.unwrap();
    assert!(differs(&*db).await, "a prefix may be longer than the one that was found");
    db.bind_identities(&[binding("ip:192.0.2.9", 4, 0, OPEN)]).await.unwrap();
    assert!(differs(&*db).await, "an address may have been found by its prefix");
    db.bind_identities(&[binding("ip:2001:db8::1", 4, 0, OPEN)]).await.unwrap();
    db.bind_identities(&[binding("user:y", 4, 0, OPEN)]).await.unwrap();
    assert!(!differs(&*db).await, "no prefix holds these");
}

/// The list is sorted, and has no more bindings than requested.
pub async fn the_bindings_of_an_account_are_listed(s: &TestedStore) {
    let db = s.view().await;
    let own = [
        binding("ip:192.0.2.1", 1, 0, 10),
        binding("ip:192.0.2.1", 1, 20, OPEN),
        binding("user:x", 1, EVER, OPEN),
    ];
    db.bind_identities(&[own.as_slice(), &[binding("user:y", 2, 0, 1)]].concat()).await.unwrap();
    let account = AccountNumber(1);
    assert_eq!(db.bindings_of(account, 10).await.unwrap(), own);
    assert_eq!(db.bindings_of(account, 2).await.unwrap(), own[..2]);
    assert!(db.bindings_of(AccountNumber(3), 2).await.unwrap().is_empty());
}

/// Each change is also applied to a simple model: a table of the account for each identity and
/// instant.
pub async fn random_changes_agree_with_a_table_of_instants(s: &TestedStore) {
    const INSTANTS: usize = 24;
    const IDENTITIES: [&str; 3] = ["ip:192.0.2.1", "ip:192.0.2.0/24", "user:x"];
    let (db, mut dice) = (s.view().await, Dice(7));
    let mut draw = |below: usize| usize::try_from(dice.below(below as u64)).unwrap();
    let mut table = [[None::<u64>; INSTANTS]; IDENTITIES.len()];
    // The account that look-ups found first, and whether a later look-up found another account or
    // none.
    let mut first = [[(None::<u64>, false); INSTANTS]; IDENTITIES.len()];
    let mut changed = 0;
    for _ in 0..150 {
        let (row, account) = (draw(IDENTITIES.len()), 1 + draw(3) as u64);
        let from = draw(INSTANTS - 1);
        let until = from + 1 + draw(INSTANTS - from - 1);
        let asked = binding(IDENTITIES[row], account, from as i64, until as i64);
        let cells = &mut table[row][from..until];
        let final_before = Timestamp(EVER);
        let (change, after) = match draw(3) {
            0 => {
                let free = cells.iter().all(|cell| cell.is_none_or(|held| held == account));
                (Rebinding::Bind(asked), free.then_some(Some(account)))
            }
            1 => (Rebinding::Move { binding: asked, final_before }, Some(Some(account))),
            _ => (Rebinding::Release { binding: asked, final_before }, Some(None)),
        };
        let is_release = matches!(change, Rebinding::Release { .. });
        if let Some(after) = after {
            let mut own = cells.iter_mut().filter(|cell| !is_release || **cell == Some(account));
            own.by_ref().for_each(|cell| *cell = after);
        }
        let outcome = rebind(&*db, change).await;
        changed += usize::from(matches!(outcome, RebindOutcome::Changed(_)));
        for at in 0..INSTANTS {
            let found = [table[0][at].or(table[1][at]), table[1][at], table[2][at]];
            for (first, found) in first.iter_mut().zip(found) {
                let (account, is_changed) = &mut first[at];
                *account = account.or(found);
                *is_changed |= account.is_some() && *account != found;
            }
        }
        for (identity, first) in IDENTITIES.iter().zip(&first) {
            let known = guided(&*db, identity).await.first_holders;
            for (at, (account, is_changed)) in first.iter().enumerate() {
                let expected = account.filter(|_| *is_changed);
                assert_eq!(holder(&known, at as i64), expected, "{identity} at {at}");
            }
        }
        for (identity, cells) in IDENTITIES.iter().zip(&table) {
            let bindings = guided(&*db, identity).await.bindings;
            let found: Vec<Option<u64>> =
                (0..INSTANTS).map(|at| holder(&bindings, at as i64)).collect();
            assert_eq!(found, cells, "{identity} after {outcome:?}");
            assert!(bindings.windows(2).all(|pair| pair[0].until <= pair[1].from));
        }
    }
    assert!(changed > 50, "only {changed} changes were carried out");
}

/// Eight processes move the identity at the same time.
pub async fn movers_at_once_leave_one_holder_at_each_instant(s: &TestedStore) {
    s.view().await.bind_identities(&[binding("user:x", 9, EVER, OPEN)]).await.unwrap();
    let mut movers = Vec::new();
    for n in 0..8u64 {
        let view = s.view().await;
        movers.push(tokio::spawn(async move {
            for turn in 0..5 {
                let from = i64::try_from(n * 3 + turn).unwrap();
                rebind(&*view, moved("user:x", n + 1, from, from + 7)).await;
            }
        }));
    }
    for mover in movers {
        mover.await.unwrap();
    }
    let bindings = guided(&*s.view().await, "user:x").await.bindings;
    let gapless = bindings.windows(2).all(|pair| pair[0].until == pair[1].from);
    assert!(gapless && bindings.len() > 2, "{bindings:?}");
    assert_eq!((bindings[0].from.0, bindings[bindings.len() - 1].until.0), (EVER, OPEN));
}

/// For a database written by a release without canonical spellings: account 1 holds
/// `ip:2001:DB8:0:0::77`, 2 `ip:not-an-address`, 3 `ip:198.51.100.8/29`, each from 0 to 100.
pub async fn bindings_of_an_older_release_are_found(db: &dyn SharedDatabase) {
    let found = guided(db, "ip:2001:db8::77").await.bindings;
    assert_eq!(holder(&found, 99), Some(1));
    assert_eq!(holder(&guided(db, "ip:not-an-address").await.bindings, 0), Some(2));
    let prefixes = guided(db, "ip:198.51.100.9").await.prefixes;
    assert_eq!(holder(&prefixes[0], 0), Some(3));
    let moved = rebind(db, moved("ip:2001:db8::77", 9, 50, OPEN)).await;
    assert!(matches!(moved, RebindOutcome::Changed(_)), "{moved:?}");
    let found = guided(db, "ip:2001:db8::77").await.bindings;
    assert_eq!([49, 50].map(|at| holder(&found, at)), [Some(1), Some(9)]);
}

/// Runs after [`bindings_of_an_older_release_are_found`], and after a process of that release has
/// added bindings: `user:later` to account 4, `ip:2001:DB8::88` to account 5. A row in the
/// canonical spelling is found at once, a row in another spelling after the next binding.
pub async fn bindings_of_an_older_process_are_found(db: &dyn SharedDatabase) {
    assert_eq!(holder(&guided(db, "user:later").await.bindings, 0), Some(4));
    let taken = rebind(db, Rebinding::Bind(binding("ip:2001:db8:0::88", 6, 5, 6))).await;
    assert_eq!(taken, RebindOutcome::Taken(binding("ip:2001:DB8::88", 5, 0, 100)));
    assert_eq!(holder(&guided(db, "ip:2001:db8::88").await.bindings, 0), Some(5));
}

/// A text with a NUL, which PostgreSQL can't store, is nobody's identity and nothing's name. A look-up
/// of many identities does not fail because of one, and no answer reports a damaged database.
pub async fn a_text_with_a_nul_fails_no_other_and_is_no_damage(s: &TestedStore) {
    let db = s.view().await;
    let asked = [binding("user:a", 5, EVER, OPEN)];
    assert_eq!(db.bind_identities(&asked).await.unwrap(), [BindOutcome::Bound]);
    let found = db.guide(&["user:a\0b".to_owned(), "user:a".to_owned()]).await.unwrap();
    assert_eq!((found[0].bindings.len(), found[1].bindings.len()), (0, 1));
    let bad = binding("user:a\0b", 5, EVER, OPEN);
    let refused = |error: StoreError| assert!(matches!(error, StoreError::Refused(_)), "{error}");
    refused(db.bind_identities(std::slice::from_ref(&bad)).await.unwrap_err());
    refused(db.rebind_identities(&[Rebinding::Bind(bad)]).await.unwrap_err());
    refused(db.register_consumer("a\0b").await.unwrap_err());
    let node = NodeName("a\0b".to_owned());
    let no_node = |answer: Result<bool, StoreError>| match answer {
        Ok(known) => assert!(!known),
        Err(error) => refused(error),
    };
    no_node(db.set_drained(&node, true).await);
    no_node(db.forget_node(&node).await);
    match db.catalogue_heads(CatalogueKind::Plan, Some("a\0b"), 0).await {
        Ok(heads) => assert!(heads.is_empty()),
        Err(error) => refused(error),
    }
    match db.consumer("a\0b").await {
        Ok(cursors) => assert!(cursors.is_empty()),
        Err(error) => refused(error),
    }
}
