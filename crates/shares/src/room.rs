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

    /// Takes room if it is free and within the client's share, and if no wish comes before this one:
    /// an earlier one of the client, or one of another client that holds no more.
    pub fn try_take(self: &Arc<Self>, client: ClientKey, bytes: usize) -> Option<Share> {
        let mut state = self.lock();
        let bytes = self.bounded(bytes);
        if state.waits_before(client, self.bytes_max) || !state.fits(client, bytes, self.bytes_max)
        {
            return None;
        }
        state.take(client, bytes);
        Some(Share { shares: Arc::clone(self), client, bytes })
    }

    /// Waits for room. The wishes of one client are granted in their order; among clients, the one
    /// that holds least comes first, and of several such clients the one that has waited longest. If
    /// that one lacks free room, the others leave it what comes back; if it is above its share, it
    /// delays only itself. A wish whose future is dropped is forgotten.
    pub async fn take(self: &Arc<Self>, client: ClientKey, bytes: usize) -> Share {
        let granted = self.wish(client, bytes);
        let mut asked = Asked { shares: self, client, granted };
        (&mut asked.granted).await.must("a wish is granted while its future lives")
    }

    fn wish(self: &Arc<Self>, client: ClientKey, bytes: usize) -> oneshot::Receiver<Share> {
        let (grant, granted) = oneshot::channel();
        self.lock().wish(client, self.bounded(bytes), grant);
        self.grant();
        granted
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
    fn is_within_share(&self, client: ClientKey, bytes: usize, bytes_max: usize) -> bool {
        let held = self.held(client);
        held == 0 || held + bytes <= self.share(client, bytes_max)
    }

    fn fits(&self, client: ClientKey, bytes: usize, bytes_max: usize) -> bool {
        bytes <= self.free && self.is_within_share(client, bytes, bytes_max)
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

    /// The client whose oldest wish is granted next: of those whose wish is within their share, the
    /// one that holds least, and of several such clients the one that has waited longest.
    fn next(&self, bytes_max: usize) -> Option<ClientKey> {
        let wishes = self.clients.iter().filter_map(|(client, holding)| {
            let wish = holding.wishes.front()?;
            let is_within = self.is_within_share(*client, wish.bytes, bytes_max);
            is_within.then_some((holding.held, wish.number, *client))
        });
        wishes.min().map(|(_, _, client)| client)
    }

    /// Whether a wish comes before a new one of `client`.
    fn waits_before(&self, client: ClientKey, bytes_max: usize) -> bool {
        let has_earlier = self.clients.get(&client).is_some_and(|one| !one.wishes.is_empty());
        has_earlier || self.next(bytes_max).is_some_and(|next| self.held(next) <= self.held(client))
    }

    /// Takes room for the next wish. If it lacks free room, no later wish gets that room.
    fn next_grant(
        &mut self,
        bytes_max: usize,
    ) -> Option<(ClientKey, usize, oneshot::Sender<Share>)> {
        let client = self.next(bytes_max)?;
        let wishes = &mut self.clients.get_mut(&client)?.wishes;
        let wish = wishes.pop_front_if(|wish| wish.bytes <= self.free)?;
        self.take(client, wish.bytes);
        Some((client, wish.bytes, wish.grant))
    }
}

#[cfg(test)]
mod tests;
