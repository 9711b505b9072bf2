//! Room in bytes, divided among clients.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use turnpike_types::{Must, PartitionId};

use crate::ClientKey;

/// A total of bytes of which each client may hold a share.
///
/// With `n` clients that hold or want room, the share of each is the `n + 1`st part of the total: the
/// part that is left over is free for the next client. A client that holds nothing may take more than
/// its share, up to the total, so that no request is too large for ever.
///
/// Room may be taken for a partition. Room for one partition is at most half of the client's share,
/// so that a partition that does not answer leaves the client room for the others. For the same
/// reason, a client that holds room for one partition only may take more than its share for a second.
#[derive(Debug)]
pub struct Shares {
    state: Mutex<State>,
}

/// The holder of room: a client, for one partition or for any purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    client: ClientKey,
    partition: Option<PartitionId>,
}

impl From<ClientKey> for Holder {
    fn from(client: ClientKey) -> Self {
        Self { client, partition: None }
    }
}

impl From<(ClientKey, PartitionId)> for Holder {
    fn from((client, partition): (ClientKey, PartitionId)) -> Self {
        Self { client, partition: Some(partition) }
    }
}

#[derive(Debug)]
struct State {
    bytes_max: usize,
    free: usize,
    /// Only clients that hold or want room, each with what it holds and wants for each partition.
    clients: HashMap<ClientKey, BTreeMap<Option<PartitionId>, Holding>>,
    /// How many wishes wait.
    wishes: usize,
    /// The number of the next wish: wishes are as old as their numbers are small.
    next_wish: u64,
}

#[derive(Debug, Default)]
struct Holding {
    held: usize,
    /// The wishes that are not granted yet, oldest first.
    wishes: VecDeque<Wish>,
}

#[derive(Debug)]
struct Wish {
    number: u64,
    bytes: usize,
    grant: oneshot::Sender<Share>,
}

/// Room that is held until this is dropped.
#[derive(Debug)]
pub struct Share {
    shares: Arc<Shares>,
    holder: Holder,
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
        self.shares.give_back(self.holder, self.bytes);
    }
}

impl Shares {
    /// A total of `bytes_max` bytes, all of them free.
    pub fn new(bytes_max: usize) -> Arc<Self> {
        let (clients, wishes, next_wish) = (HashMap::new(), 0, 0);
        let state = State { bytes_max, free: bytes_max, clients, wishes, next_wish };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// The total.
    pub fn bytes_max(&self) -> usize {
        self.lock().bytes_max
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
        self.lock().share(client)
    }

    /// Whether another client than this one holds or wants room.
    pub fn is_contended(&self, client: ClientKey) -> bool {
        self.lock().clients.keys().any(|other| *other != client)
    }

    /// Takes room if it is free and within the client's share, and if no wish comes before this one:
    /// an earlier one of the same holder, or one of a client that holds no more.
    pub fn try_take(self: &Arc<Self>, holder: impl Into<Holder>, bytes: usize) -> Option<Share> {
        let holder = holder.into();
        let mut state = self.lock();
        let bytes = state.bounded(bytes);
        let fits = bytes <= state.free && state.is_within_share(holder, bytes);
        if !fits || state.waits_before(holder) {
            return None;
        }
        state.take(holder, bytes);
        Some(Share { shares: Arc::clone(self), holder, bytes })
    }

    /// Waits for room. The wishes of one holder are granted in their order; among clients, the one
    /// that holds least comes first, and of several such clients the one that has waited longest. If
    /// that one lacks free room, the others leave it what comes back; if it is above its share, it
    /// delays only itself. A wish whose future is dropped is forgotten.
    pub async fn take(self: &Arc<Self>, holder: impl Into<Holder>, bytes: usize) -> Share {
        let holder = holder.into();
        let granted = self.wish(holder, bytes);
        let mut asked = Asked { shares: self, holder, granted };
        (&mut asked.granted).await.must("a wish is granted while its future lives")
    }

    fn wish(self: &Arc<Self>, holder: Holder, bytes: usize) -> oneshot::Receiver<Share> {
        let (grant, granted) = oneshot::channel();
        self.lock().wish(holder, bytes, grant);
        self.grant();
        granted
    }

    fn give_back(self: &Arc<Self>, holder: Holder, bytes: usize) {
        self.lock().give_back(holder, bytes);
        self.grant();
    }

    /// Grants wishes for as long as the next one fits.
    fn grant(self: &Arc<Self>) {
        loop {
            let mut state = self.lock();
            let Some((holder, bytes, grant)) = state.next_grant() else { return };
            drop(state);
            // A wish whose future is gone gives its room back here.
            drop(grant.send(Share { shares: Arc::clone(self), holder, bytes }));
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
    holder: Holder,
    granted: oneshot::Receiver<Share>,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.granted.close();
        // A grant that was not received is given back outside the lock.
        drop(self.granted.try_recv());
        self.shares.lock().forget(self.holder);
        self.shares.grant();
    }
}

impl State {
    /// No room is larger than the total, else it could not be granted.
    fn bounded(&self, bytes: usize) -> usize {
        bytes.clamp(1, self.bytes_max.max(1))
    }

    fn held(&self, client: ClientKey) -> usize {
        self.holdings(client).map(|holding| holding.held).sum()
    }

    fn share(&self, client: ClientKey) -> usize {
        let clients = self.clients.len() + usize::from(!self.clients.contains_key(&client));
        self.bytes_max / (clients + 1)
    }

    fn holdings(&self, client: ClientKey) -> impl Iterator<Item = &Holding> {
        self.clients.get(&client).into_iter().flat_map(BTreeMap::values)
    }

    fn holding(&self, Holder { client, partition }: Holder) -> Option<&Holding> {
        self.clients.get(&client)?.get(&partition)
    }

    fn is_within_share(&self, holder: Holder, bytes: usize) -> bool {
        let share = self.share(holder.client);
        let is_within = self.held(holder.client) + bytes <= share;
        let partitions = self.holdings(holder.client).filter(|holding| holding.held > 0).count();
        match (self.holding(holder).map_or(0, |holding| holding.held), holder.partition) {
            (0, _) => is_within || partitions <= 1,
            (_, None) => is_within,
            (held, Some(_)) => is_within && held + bytes <= share / 2,
        }
    }

    /// The holder whose oldest wish is granted next: of the clients with a wish within their share,
    /// the one that holds least, and of several such clients the one that has waited longest.
    fn next(&self) -> Option<Holder> {
        if self.wishes == 0 {
            return None;
        }
        let wishes = self.clients.iter().flat_map(|(client, by_partition)| {
            let wishes = by_partition.iter().filter_map(|(partition, holding)| {
                let wish = holding.wishes.front()?;
                let holder = Holder { client: *client, partition: *partition };
                self.is_within_share(holder, wish.bytes).then_some((wish.number, holder))
            });
            let oldest = wishes.min_by_key(|(number, _)| *number);
            oldest.map(|(number, holder)| (self.held(*client), number, holder))
        });
        wishes.min_by_key(|(held, number, _)| (*held, *number)).map(|(_, _, holder)| holder)
    }

    /// Whether a wish comes before a new one of `holder`.
    fn waits_before(&self, holder: Holder) -> bool {
        let has_earlier = self.holding(holder).is_some_and(|holding| !holding.wishes.is_empty());
        let next = self.next().map(|next| self.held(next.client));
        has_earlier || next.is_some_and(|held| held <= self.held(holder.client))
    }

    fn holding_mut(&mut self, Holder { client, partition }: Holder) -> &mut Holding {
        self.clients.entry(client).or_default().entry(partition).or_default()
    }

    fn take(&mut self, holder: Holder, bytes: usize) {
        assert!(bytes <= self.free, "{bytes} bytes are taken of {} free ones", self.free);
        self.free -= bytes;
        self.holding_mut(holder).held += bytes;
    }

    fn wish(&mut self, holder: Holder, bytes: usize, grant: oneshot::Sender<Share>) {
        let wish = Wish { number: self.next_wish, bytes: self.bounded(bytes), grant };
        self.next_wish += 1;
        self.wishes += 1;
        self.holding_mut(holder).wishes.push_back(wish);
    }

    fn give_back(&mut self, holder: Holder, bytes: usize) {
        let holding = self.holding_mut(holder);
        assert!(bytes <= holding.held, "{bytes} bytes are given back of {}", holding.held);
        holding.held -= bytes;
        self.free += bytes;
        self.forget(holder);
    }

    /// Forgets wishes whose future is gone, and a holder that holds and wants nothing.
    fn forget(&mut self, Holder { client, partition }: Holder) {
        let Some(by_partition) = self.clients.get_mut(&client) else { return };
        let Some(holding) = by_partition.get_mut(&partition) else { return };
        let wishes = holding.wishes.len();
        holding.wishes.retain(|wish| !wish.grant.is_closed());
        self.wishes -= wishes - holding.wishes.len();
        if holding.held > 0 || !holding.wishes.is_empty() {
            return;
        }
        by_partition.remove(&partition);
        if by_partition.is_empty() {
            self.clients.remove(&client);
        }
    }

    /// Takes room for the next wish. If it lacks free room, no later wish gets that room.
    fn next_grant(&mut self) -> Option<(Holder, usize, oneshot::Sender<Share>)> {
        let holder = self.next()?;
        let free = self.free;
        let wish = self.holding_mut(holder).wishes.pop_front_if(|wish| wish.bytes <= free)?;
        self.wishes -= 1;
        self.take(holder, wish.bytes);
        Some((holder, wish.bytes, wish.grant))
    }
}

#[cfg(test)]
mod tests;
