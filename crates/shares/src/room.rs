//! Room in bytes, divided among clients.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use turnpike_types::Must;

use crate::ClientKey;

/// A total of bytes of which each client may hold a share.
///
/// With `n` clients that hold or want room, the share of each is the `n + 1`st part of the total: the
/// part that is left over is free for the next client. A client that holds nothing may take more than
/// its share, up to the total, so that no request is too large for ever.
#[derive(Debug)]
pub struct Shares {
    state: Mutex<State>,
    bytes_max: usize,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// Only clients that hold or want room.
    clients: HashMap<ClientKey, Holding>,
    /// The number of the next wish: wishes are as old as their numbers are small.
    next_wish: u64,
}

#[derive(Debug, Default)]
struct Holding {
    held: usize,
    /// The wishes of this client that are not granted yet, oldest first.
    wishes: VecDeque<Wish>,
}

#[derive(Debug)]
struct Wish {
    number: u64,
    bytes: usize,
    grant: oneshot::Sender<Share>,
}

/// Room that a client holds until this is dropped.
#[derive(Debug)]
pub struct Share {
    shares: Arc<Shares>,
    client: ClientKey,
    bytes: usize,
}

impl Share {
    /// The size of the room, in bytes.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shares.give_back(self.client, self.bytes);
    }
}

impl Shares {
    /// A total of `bytes_max` bytes, all of them free.
    pub fn new(bytes_max: usize) -> Arc<Self> {
        let state = State { free: bytes_max, clients: HashMap::new(), next_wish: 0 };
        Arc::new(Self { state: Mutex::new(state), bytes_max })
    }

    /// The total.
    pub const fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// The bytes that no client holds.
    pub fn free(&self) -> usize {
        self.lock().free
    }

    /// The bytes that the client holds.
    pub fn held(&self, client: ClientKey) -> usize {
        self.lock().held(client)
    }

    /// The bytes that the client may hold at present.
    pub fn share(&self, client: ClientKey) -> usize {
        self.lock().share(client, self.bytes_max)
    }

    /// Whether another client than this one holds or wants room.
    pub fn is_contended(&self, client: ClientKey) -> bool {
        self.lock().clients.keys().any(|other| *other != client)
    }

    /// Takes room if it is free and within the client's share, and if no earlier wish of the client
    /// waits.
    pub fn try_take(self: &Arc<Self>, client: ClientKey, bytes: usize) -> Option<Share> {
        let mut state = self.lock();
        let bytes = self.bounded(bytes);
        let waits = state.clients.get(&client).is_some_and(|holding| !holding.wishes.is_empty());
        if waits || !state.may_take(client, bytes, self.bytes_max) {
            return None;
        }
        state.take(client, bytes);
        Some(Share { shares: Arc::clone(self), client, bytes })
    }

    /// Waits for room. The wishes of one client are granted in their order; among clients, the one
    /// that holds least comes first, and of several such clients the one that has waited longest. A wish whose future is dropped is forgotten.
    pub async fn take(self: &Arc<Self>, client: ClientKey, bytes: usize) -> Share {
        if let Some(share) = self.try_take(client, bytes) {
            return share;
        }
        let (grant, granted) = oneshot::channel();
        self.lock().wish(client, self.bounded(bytes), grant);
        let mut asked = Asked { shares: self, client, granted };
        // Room may have become free in between.
        self.grant();
        (&mut asked.granted).await.must("a wish is granted while its future lives")
    }

    /// A wish is never larger than the total, else it could not be granted.
    fn bounded(&self, bytes: usize) -> usize {
        bytes.clamp(1, self.bytes_max.max(1))
    }

    fn give_back(self: &Arc<Self>, client: ClientKey, bytes: usize) {
        self.lock().give_back(client, bytes);
        self.grant();
    }

    /// Grants wishes for as long as the next one fits.
    fn grant(self: &Arc<Self>) {
        loop {
            let mut state = self.lock();
            let Some((client, bytes, grant)) = state.next_grant(self.bytes_max) else { return };
            drop(state);
            // A wish whose future is gone gives its room back here.
            drop(grant.send(Share { shares: Arc::clone(self), client, bytes }));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code under the lock panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A wish that is waited for. When this is dropped, the wish is forgotten, or its room given back.
struct Asked<'a> {
    shares: &'a Arc<Shares>,
    client: ClientKey,
    granted: oneshot::Receiver<Share>,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.granted.close();
        // A grant that was not received is given back outside the lock.
        drop(self.granted.try_recv());
        self.shares.lock().forget(self.client);
        self.shares.grant();
    }
}

impl State {
    fn may_take(&self, client: ClientKey, bytes: usize, bytes_max: usize) -> bool {
        let held = self.held(client);
        let is_within = held == 0 || held + bytes <= self.share(client, bytes_max);
        bytes <= self.free && is_within
    }

    fn held(&self, client: ClientKey) -> usize {
        self.clients.get(&client).map_or(0, |holding| holding.held)
    }

    fn share(&self, client: ClientKey, bytes_max: usize) -> usize {
        let clients = self.clients.len() + usize::from(!self.clients.contains_key(&client));
        bytes_max / (clients + 1)
    }

    fn take(&mut self, client: ClientKey, bytes: usize) {
        assert!(bytes <= self.free, "{bytes} bytes are taken of {} free ones", self.free);
        self.free -= bytes;
        self.clients.entry(client).or_default().held += bytes;
    }

    fn wish(&mut self, client: ClientKey, bytes: usize, grant: oneshot::Sender<Share>) {
        let wish = Wish { number: self.next_wish, bytes, grant };
        self.next_wish += 1;
        self.clients.entry(client).or_default().wishes.push_back(wish);
    }

    fn give_back(&mut self, client: ClientKey, bytes: usize) {
        let holding = self.clients.get_mut(&client).must("a client that holds room is known");
        assert!(bytes <= holding.held, "{bytes} bytes are given back of {}", holding.held);
        holding.held -= bytes;
        self.free += bytes;
        self.forget(client);
    }

    fn forget(&mut self, client: ClientKey) {
        let Some(holding) = self.clients.get_mut(&client) else { return };
        holding.wishes.retain(|wish| !wish.grant.is_closed());
        if holding.held == 0 && holding.wishes.is_empty() {
            self.clients.remove(&client);
        }
    }

    /// Takes room for the oldest wish of the client that holds least, if that wish fits. If it only
    /// lacks free room, no other client gets that room.
    fn next_grant(
        &mut self,
        bytes_max: usize,
    ) -> Option<(ClientKey, usize, oneshot::Sender<Share>)> {
        let wishing = self.clients.iter().filter(|(_, holding)| !holding.wishes.is_empty());
        let (client, _) = wishing.min_by_key(|(_, holding)| {
            (holding.held, holding.wishes.front().map(|wish| wish.number))
        })?;
        let client = *client;
        let bytes = self.clients.get(&client)?.wishes.front()?.bytes;
        if !self.may_take(client, bytes, bytes_max) {
            return None;
        }
        let wish = self.clients.get_mut(&client)?.wishes.pop_front()?;
        self.take(client, bytes);
        Some((client, bytes, wish.grant))
    }
}

#[cfg(test)]
mod tests {
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
                        let has = held.iter().any(|share| share.client == client);
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
    }
}
