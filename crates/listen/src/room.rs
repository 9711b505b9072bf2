//! The room of one request in the budget, and the client that it counts for.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use tonic::Status;
use turnpike_shares::ClientKey;

use crate::budget::{Budget, BudgetShare, MemoryPart};
use crate::evictions::Evict;
use crate::locking::lock;
use crate::progress::{OpenRequest, Progress};
use crate::refusal::{exhausted, refused};
use crate::table::network;

/// What an open request takes without its messages: its state in the transport, and its tasks.
const REQUEST_BYTES: usize = 16 * 1024;

/// The room of one request. An extension of each request.
///
/// The layer that authenticates requests assigns each request that needs a role to the client who
/// sends it, before it passes the request on. A request that was not assigned takes its room in a
/// small part of the budget, counts for its address, and does not keep its connection open.
#[derive(Clone)]
pub struct RequestRoom(Arc<Inner>);

struct Inner {
    budget: Budget,
    /// Stands for the address of the client.
    address: ClientKey,
    progress: Arc<Progress>,
    /// A stream that was silent for this long may be given up for another request.
    silence_min: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The client to whom the request was assigned.
    client: Option<ClientKey>,
    share: Option<BudgetShare>,
    /// Keeps the connection from counting as idle.
    open: Option<OpenRequest>,
    is_given_up: bool,
    waker: Option<Waker>,
}

impl RequestRoom {
    pub(crate) fn new(
        budget: Budget,
        address: IpAddr,
        progress: Arc<Progress>,
        silence_min: Duration,
    ) -> Self {
        let address = ClientKey::of(&network(address).to_string());
        let state = Mutex::default();
        Self(Arc::new(Inner { budget, address, progress, silence_min, state }))
    }

    /// Assigns the request to `client`, and takes its room. To be called before the request is passed
    /// to its service. [`ClientKey::NONE`] stands for members of the cluster, whose requests count
    /// for no client.
    ///
    /// # Errors
    /// There is no room, or the client has its share of it.
    pub fn assign(&self, client: ClientKey) -> Result<(), Status> {
        let Inner { budget, progress, silence_min, .. } = &*self.0;
        let share = loop {
            match budget.take(MemoryPart::Requests, client, REQUEST_BYTES, 0) {
                Ok(()) => break budget.share(MemoryPart::Requests, client, REQUEST_BYTES),
                Err(lack) if budget.give_up_silent(lack.among(client), *silence_min) => {}
                Err(_) => return Err(no_room()),
            }
        };
        let open = progress.open();
        let mut state = lock(&self.0.state);
        (state.client, state.share, state.open) = (Some(client), Some(share), Some(open));
        Ok(())
    }

    /// Takes the room of a request that was not assigned.
    pub(crate) fn settle(&self) -> Result<(), Status> {
        if self.is_assigned() {
            return Ok(());
        }
        let Inner { budget, address, .. } = &*self.0;
        let share = budget.reserve_for(MemoryPart::Unassigned, *address, REQUEST_BYTES);
        lock(&self.0.state).share = Some(share.ok_or_else(no_room)?);
        Ok(())
    }

    pub(crate) fn is_assigned(&self) -> bool {
        lock(&self.0.state).client.is_some()
    }

    /// The client that the messages and the answer of the request count for.
    pub(crate) fn client(&self) -> ClientKey {
        lock(&self.0.state).client.unwrap_or(self.0.address)
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.0.budget
    }

    pub(crate) fn progress(&self) -> &Arc<Progress> {
        &self.0.progress
    }

    /// Whether the request must end, because it was silent and its room was needed. If not, the task
    /// is woken when this changes.
    pub(crate) fn poll_given_up(&self, cx: &mut Context<'_>) -> bool {
        let mut state = lock(&self.0.state);
        if !state.is_given_up {
            state.waker = Some(cx.waker().clone());
        }
        state.is_given_up
    }

    /// What is given up when the room of a silent stream is needed.
    pub(crate) fn evictable(&self) -> Arc<dyn Evict> {
        Arc::clone(&self.0) as Arc<dyn Evict>
    }
}

impl Evict for Inner {
    fn evict(&self) {
        let mut state = lock(&self.state);
        state.is_given_up = true;
        let (share, waker) = (state.share.take(), state.waker.take());
        drop(state);
        drop(share);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn bytes(&self) -> usize {
        lock(&self.state).share.as_ref().map_or(0, BudgetShare::bytes)
    }
}

impl std::fmt::Debug for RequestRoom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = lock(&self.0.state);
        f.debug_struct("RequestRoom").field("client", &state.client).finish_non_exhaustive()
    }
}

fn no_room() -> Status {
    refused("requests");
    exhausted("the server's memory for open requests is used up")
}
