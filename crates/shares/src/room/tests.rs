use std::time::Duration;

use proptest::prelude::*;
use tokio::time::timeout;

use super::*;

const HEAVY: ClientKey = ClientKey(1);
const LIGHT: ClientKey = ClientKey(2);

#[test]
fn a_client_alone_holds_at_most_half_and_a_second_one_is_served_at_once() {
    let shares = Shares::new(100);
    let heavy: Vec<Share> = std::iter::from_fn(|| shares.try_take(HEAVY, 10)).collect();
    assert_eq!(heavy.len(), 5);
    assert!(shares.is_contended(LIGHT) && !shares.is_contended(HEAVY));
    let light = shares.try_take(LIGHT, 30).unwrap();
    assert_eq!(light.bytes(), 30);
    assert_eq!(shares.free(), 20);
    // Of two clients each may hold a third.
    drop(heavy.into_iter().take(3).collect::<Vec<_>>());
    assert_eq!(shares.free(), 70);
    let again: Vec<Share> = std::iter::from_fn(|| shares.try_take(HEAVY, 10)).collect();
    assert_eq!(again.len(), 3);
}

#[test]
fn a_request_above_the_share_is_taken_by_a_client_that_holds_nothing() {
    let shares = Shares::new(100);
    let large = shares.try_take(HEAVY, 1_000).unwrap();
    assert_eq!((large.bytes(), shares.free()), (100, 0));
    assert!(shares.try_take(HEAVY, 1).is_none());
}

#[tokio::test(start_paused = true)]
async fn the_client_that_holds_least_comes_first_and_a_forgotten_wish_takes_nothing() {
    let shares = Shares::new(10);
    let all = shares.take(HEAVY, 10).await;
    let second = Duration::from_secs(1);
    assert!(timeout(second, shares.take(HEAVY, 1)).await.is_err());
    let (heavy, light) = (shares.take(HEAVY, 4), shares.take(LIGHT, 4));
    tokio::pin!(heavy, light);
    assert!(timeout(second, &mut heavy).await.is_err());
    assert!(timeout(second, &mut light).await.is_err());
    drop(all);
    let light = timeout(second, light).await.unwrap();
    assert_eq!(light.bytes(), 4);
    let heavy = timeout(second, heavy).await.unwrap();
    drop((heavy, light));
    assert_eq!(shares.free(), 10);
    assert!(!shares.is_contended(ClientKey::NONE), "a client that holds nothing is forgotten");
}

/// More clients want room than there is room for. Each gets its turn, whatever its key is.
#[tokio::test]
async fn of_clients_that_hold_nothing_the_one_that_has_waited_longest_comes_first() {
    let shares = Shares::new(2);
    let (served, mut order) = tokio::sync::mpsc::unbounded_channel();
    let all = shares.take(ClientKey::NONE, 2).await;
    for client in [9, 3, 7, 1] {
        let (shares, served) = (Arc::clone(&shares), served.clone());
        tokio::spawn(async move {
            for _ in 0..3 {
                let share = shares.take(ClientKey(client), 2).await;
                served.send(client).unwrap();
                tokio::task::yield_now().await;
                drop(share);
            }
        });
        tokio::task::yield_now().await;
    }
    drop((all, served));
    let mut seen = Vec::new();
    while let Some(client) = order.recv().await {
        seen.push(client);
    }
    assert_eq!(seen, [9, 3, 7, 1].repeat(3));
}

/// Clients with small requests come back as soon as they are answered. They don't take the room for
/// which a larger request waits.
#[test]
fn a_large_request_waits_for_no_more_than_the_room_that_it_lacks() {
    let shares = Shares::new(24);
    let mut small: VecDeque<Share> = (10..30).map(|n| taken(&shares, ClientKey(n), 1)).collect();
    let mut large = shares.wish(HEAVY.into(), 8);
    let mut newcomer = shares.wish(LIGHT.into(), 1);
    for returned in 1..=4 {
        assert!(large.try_recv().is_err() && newcomer.try_recv().is_err());
        let client = small.pop_front().unwrap().holder.client;
        let again = shares.try_take(client, 1);
        assert!(again.is_none(), "room was taken after {returned} returns");
    }
    let large = large.try_recv().unwrap();
    assert_eq!((large.bytes(), shares.free()), (8, 0));
    drop(small);
    assert_eq!(newcomer.try_recv().unwrap().bytes(), 1);
}

/// A client above its share waits for its own requests to be answered, not others for them.
#[test]
fn a_wish_above_the_share_of_its_client_delays_no_other_client() {
    let shares = Shares::new(24);
    let (_heavy, light) = (taken(&shares, HEAVY, 1), taken(&shares, LIGHT, 2));
    let mut heavy = shares.wish(HEAVY.into(), 8);
    assert_eq!(shares.wish(LIGHT.into(), 1).try_recv().unwrap().bytes(), 1);
    assert!(heavy.try_recv().is_err());
    drop(light);
    assert_eq!(heavy.try_recv().unwrap().bytes(), 8, "the share of a client alone is 12");
}

/// A partition that does not answer keeps the room that it has. Its client sends to others.
#[tokio::test]
async fn room_for_one_partition_is_at_most_half_of_the_share_of_its_client() {
    let shares = Shares::new(120);
    let (stuck, served) = ((HEAVY, PartitionId(1)), (HEAVY, PartitionId(2)));
    let held: Vec<Share> = std::iter::from_fn(|| shares.try_take(stuck, 10)).collect();
    assert_eq!(held.len(), 3, "the share of a client alone is 60");
    let waits = shares.wish(stuck.into(), 10);
    // An earlier wish for the other partition does not delay it.
    let held_too: Vec<Share> = std::iter::from_fn(|| shares.try_take(served, 10)).collect();
    assert_eq!((held_too.len(), shares.held(HEAVY)), (3, 60));
    drop((held, waits));
    assert_eq!(shares.held(HEAVY), 30);
}

/// Under overload, the share is smaller than a request.
#[test]
fn a_client_whose_share_is_used_up_by_one_partition_takes_room_for_a_second_one() {
    let shares = Shares::new(100);
    let _others: Vec<Share> = (10..28).map(|n| taken(&shares, ClientKey(n), 1)).collect();
    let _stuck = shares.try_take((HEAVY, PartitionId(1)), 40).unwrap();
    assert!(shares.share(HEAVY) < 10);
    assert!(shares.try_take((HEAVY, PartitionId(1)), 10).is_none());
    let _served = shares.try_take((HEAVY, PartitionId(2)), 10).unwrap();
    assert!(shares.try_take((HEAVY, PartitionId(2)), 10).is_none());
    assert!(shares.try_take((HEAVY, PartitionId(3)), 10).is_none(), "one beside the first");
}

fn granted_at_once(share: Share) -> oneshot::Receiver<Share> {
    let (grant, granted) = oneshot::channel();
    grant.send(share).unwrap();
    granted
}

fn taken(shares: &Arc<Shares>, client: ClientKey, bytes: usize) -> Share {
    shares.try_take(client, bytes).unwrap()
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Take(u64, usize),
    Give(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..5u64, 0..60usize).prop_map(|(client, bytes)| Step::Take(client, bytes)),
        2 => any::<prop::sample::Index>().prop_map(|at| Step::Give(at.index(64))),
    ]
}

proptest! {
    #![proptest_config(test_cases::cases(256))]

    /// The room in use never exceeds the total, all of it comes back, and a client that holds
    /// nothing is refused only if the others hold more than their shares left free.
    #[test]
    fn room_is_never_exceeded_and_never_lost(steps in prop::collection::vec(step(), 1..80)) {
        let shares = Shares::new(100);
        let mut held: Vec<Share> = Vec::new();
        for step in steps {
            match step {
                Step::Take(client, bytes) => {
                    let client = ClientKey(client);
                    let has = held.iter().any(|share| share.holder.client == client);
                    match shares.try_take(client, bytes) {
                        Some(share) => held.push(share),
                        None if has => {}
                        None => prop_assert!(bytes.max(1) > shares.free()),
                    }
                }
                Step::Give(at) if !held.is_empty() => drop(held.swap_remove(at % held.len())),
                Step::Give(_) => {}
            }
            let used: usize = held.iter().map(Share::bytes).sum();
            prop_assert_eq!(used + shares.free(), 100);
        }
        held.clear();
        prop_assert_eq!(shares.free(), 100);
        prop_assert!(shares.lock().clients.is_empty());
    }

    /// A client that holds nothing and wants room of any size is passed by each other client at most
    /// once, however eagerly the others come back.
    #[test]
    fn each_client_that_waits_is_passed_by_each_other_one_at_most_once(
        sizes in prop::collection::vec(1..=100usize, 2..12),
        returns in prop::collection::vec(any::<prop::sample::Index>(), 20..200),
    ) {
        let shares = Shares::new(100);
        // As a front does for each sub-batch.
        let wish = |at: usize| match shares.try_take(ClientKey(at as u64), sizes[at]) {
            Some(share) => granted_at_once(share),
            None => shares.wish(ClientKey(at as u64).into(), sizes[at]),
        };
        let mut wishes: Vec<_> = (0..sizes.len()).map(&wish).collect();
        let mut passed = vec![vec![0; sizes.len()]; sizes.len()];
        let mut held: Vec<Share> = Vec::new();
        for at in returns {
            let granted: Vec<Share> =
                wishes.iter_mut().filter_map(|wish| wish.try_recv().ok()).collect();
            let clients: Vec<usize> =
                granted.iter().map(|share| share.holder.client.0 as usize).collect();
            held.extend(granted);
            for (waiting, passed) in passed.iter_mut().enumerate() {
                if held.iter().any(|share| share.holder.client.0 == waiting as u64) {
                    passed.fill(0);
                    continue;
                }
                for &client in &clients {
                    passed[client] += 1;
                    prop_assert!(passed[client] <= 1, "{client} passed {waiting} twice");
                }
            }
            prop_assert!(!held.is_empty(), "room is free, and no wish is granted");
            let client = held.swap_remove(at.index(held.len())).holder.client;
            wishes[client.0 as usize] = wish(client.0 as usize);
        }
    }
}
