//! A queue that serves clients in turn, by the cost of their requests.
//!
//! Each request has a start on a clock of served cost (start-time fair queueing, Goyal, Vin and Cheng
//! 1996): the later of the present clock and the end of the client's previous request. The request
//! with the earliest start is served next, and the clock is set to its start.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use turnpike_types::Must;

use crate::{ClientKey, Share, Shares};

/// Makes a queue of at most `length_max` requests, divided among clients as [`Shares`] says.
pub fn fair_queue<T>(length_max: usize) -> (FairSender<T>, FairReceiver<T>) {
    let inner = Arc::new(Inner {
        queue: Mutex::new(Queue::default()),
        places: Shares::new(length_max),
        pushed: Notify::new(),
        closed: Notify::new(),
    });
    (FairSender(Arc::new(SenderHandle(Arc::clone(&inner)))), FairReceiver(inner))
}

/// The sending end; clones share it.
pub struct FairSender<T>(Arc<SenderHandle<T>>);

impl<T> std::fmt::Debug for FairSender<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FairSender").field("length", &self.len()).finish_non_exhaustive()
    }
}

impl<T> Clone for FairSender<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// The receiving end. When it is dropped, the requests in the queue are dropped too.
pub struct FairReceiver<T>(Arc<Inner<T>>);

/// The receiver is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

/// Tells the receiver when the last sender is gone.
struct SenderHandle<T>(Arc<Inner<T>>);

struct Inner<T> {
    queue: Mutex<Queue<T>>,
    places: Arc<Shares>,
    pushed: Notify,
    closed: Notify,
}

struct Queue<T> {
    /// The clock of served cost.
    clock: u64,
    clients: HashMap<ClientKey, Waiting<T>>,
    /// The clients that have requests waiting, by the start of the oldest one.
    starts: BTreeSet<(u64, ClientKey)>,
    /// The clients that have none waiting, by the end of the last one, if the clock is not there yet.
    ends: BTreeSet<(u64, ClientKey)>,
    urgent: VecDeque<T>,
    last: Option<T>,
    /// Requests behind the last one: never served.
    late: Vec<(T, Share)>,
    is_sealed: bool,
    has_senders: bool,
    has_receiver: bool,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            clock: 0,
            clients: HashMap::new(),
            starts: BTreeSet::new(),
            ends: BTreeSet::new(),
            urgent: VecDeque::new(),
            last: None,
            late: Vec::new(),
            is_sealed: false,
            has_senders: true,
            has_receiver: true,
        }
    }
}

/// The requests of one client, oldest first.
struct Waiting<T> {
    requests: VecDeque<(u64, T, Share)>,
    /// The start of the oldest request; without one, the end of the last request.
    start: u64,
}

impl<T> FairSender<T> {
    /// Waits for a place, and adds the request of `client`. `cost`: what its processing takes, in any
    /// unit that is the same for all requests of the queue, such as bytes.
    ///
    /// # Errors
    /// [`Closed`] when the receiver is gone. The request is dropped.
    pub async fn send(&self, client: ClientKey, cost: usize, request: T) -> Result<(), Closed> {
        let inner = &self.0.0;
        let closed = inner.closed.notified();
        if !inner.lock().has_receiver {
            return Err(Closed);
        }
        let place = tokio::select! {
            biased;
            place = inner.places.take(client, 1) => place,
            () = closed => return Err(Closed),
        };
        let mut queue = inner.lock();
        if !queue.has_receiver {
            return Err(Closed);
        }
        queue.push(client, cost as u64, (request, place));
        drop(queue);
        inner.pushed.notify_one();
        Ok(())
    }

    /// Adds a request that is served before all others.
    ///
    /// # Errors
    /// [`Closed`] when the receiver is gone.
    pub fn send_urgent(&self, request: T) -> Result<(), Closed> {
        let mut queue = self.0.0.lock();
        if !queue.has_receiver {
            return Err(Closed);
        }
        queue.urgent.push_back(request);
        drop(queue);
        self.0.0.pushed.notify_one();
        Ok(())
    }

    /// Adds a request that is served after all that are in the queue now. Those that come later wait
    /// until the receiver is dropped, and are never served.
    ///
    /// # Errors
    /// [`Closed`] when the receiver is gone, or the queue has a last request already.
    pub fn send_last(&self, request: T) -> Result<(), Closed> {
        let mut queue = self.0.0.lock();
        if !queue.has_receiver || queue.is_sealed {
            return Err(Closed);
        }
        queue.is_sealed = true;
        queue.last = Some(request);
        drop(queue);
        self.0.0.pushed.notify_one();
        Ok(())
    }

    /// The number of requests in the queue, but for urgent ones and the last one.
    pub fn len(&self) -> usize {
        self.0.0.places.bytes_max() - self.0.0.places.free()
    }

    /// Whether no request is in the queue.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the receiver is gone.
    pub fn is_closed(&self) -> bool {
        !self.0.0.lock().has_receiver
    }
}

impl<T> Drop for SenderHandle<T> {
    fn drop(&mut self) {
        self.0.lock().has_senders = false;
        self.0.pushed.notify_one();
    }
}

impl<T> FairReceiver<T> {
    /// The next request; `None` if the queue is empty and all senders are gone. A call that is
    /// cancelled takes nothing.
    pub async fn recv(&mut self) -> Option<T> {
        loop {
            {
                let mut queue = self.0.lock();
                if let Some(request) = queue.pop() {
                    return Some(request);
                }
                if !queue.has_senders {
                    return None;
                }
            }
            self.0.pushed.notified().await;
        }
    }

    /// The next request, if one is waiting.
    pub fn try_recv(&mut self) -> Option<T> {
        self.0.lock().pop()
    }

    /// Whether requests of two or more clients are waiting.
    pub fn is_contended(&self) -> bool {
        self.0.lock().starts.len() > 1
    }
}

impl<T> Drop for FairReceiver<T> {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        let rest = std::mem::take(&mut *queue);
        queue.has_receiver = false;
        drop(queue);
        self.0.closed.notify_waiters();
        // The places are given back here, outside the lock.
        drop(rest);
    }
}

impl<T> Inner<T> {
    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        // No code under the lock panics half-way through a change.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Queue<T> {
    fn push(&mut self, client: ClientKey, cost: u64, (request, place): (T, Share)) {
        if self.is_sealed {
            self.late.push((request, place));
            return;
        }
        let clock = self.clock;
        let new = || Waiting { requests: VecDeque::new(), start: clock };
        let waiting = self.clients.entry(client).or_insert_with(new);
        if waiting.requests.is_empty() {
            self.ends.remove(&(waiting.start, client));
            waiting.start = waiting.start.max(clock);
            self.starts.insert((waiting.start, client));
        }
        waiting.requests.push_back((cost, request, place));
    }

    fn pop(&mut self) -> Option<T> {
        if let Some(urgent) = self.urgent.pop_front() {
            return Some(urgent);
        }
        let Some((start, client)) = self.starts.pop_first() else { return self.last.take() };
        self.clock = start;
        let waiting = self.clients.get_mut(&client).must("a client with a start has requests");
        let (cost, request, _place) =
            waiting.requests.pop_front().must("a client with a start has requests");
        // With a cost of zero, a client would be served for ever.
        waiting.start = start.saturating_add(cost.max(1));
        let next = (waiting.start, client);
        if waiting.requests.is_empty() {
            self.ends.insert(next)
        } else {
            self.starts.insert(next)
        };
        self.forget_ends();
        Some(request)
    }

    /// Forgets the clients whose last request ended before the clock, and all of them when no request
    /// waits.
    fn forget_ends(&mut self) {
        while let Some(&(end, client)) = self.ends.first() {
            if end > self.clock && !self.starts.is_empty() {
                return;
            }
            self.ends.pop_first();
            self.clients.remove(&client);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::time::{Duration, timeout};

    use super::*;

    const HEAVY: ClientKey = ClientKey(1);
    const LIGHT: ClientKey = ClientKey(2);

    async fn filled(requests: &[(ClientKey, usize, u32)]) -> (FairSender<u32>, FairReceiver<u32>) {
        let (sender, receiver) = fair_queue(1_000);
        for (client, cost, request) in requests {
            sender.send(*client, *cost, *request).await.unwrap();
        }
        (sender, receiver)
    }

    fn drained(receiver: &mut FairReceiver<u32>) -> Vec<u32> {
        std::iter::from_fn(|| receiver.try_recv()).collect()
    }

    #[tokio::test]
    async fn a_light_client_passes_the_waiting_requests_of_a_heavy_one() {
        let heavy: Vec<_> = (0..10).map(|request| (HEAVY, 100, request)).collect();
        let (sender, mut receiver) = filled(&heavy).await;
        assert_eq!(receiver.try_recv(), Some(0));
        sender.send(LIGHT, 1, 77).await.unwrap();
        assert!(receiver.is_contended());
        assert_eq!(drained(&mut receiver), [77, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    /// A client that keeps only one request in the queue gains nothing over one that keeps many.
    #[tokio::test]
    async fn a_client_that_sends_one_request_at_a_time_gets_no_more_than_its_turn() {
        let many: Vec<_> = (0..10).map(|request| (HEAVY, 100, request)).collect();
        let (sender, mut receiver) = filled(&many).await;
        let (mut one, mut served) = (0, Vec::new());
        for _ in 0..10 {
            if one == 0 {
                sender.send(LIGHT, 100, 77).await.unwrap();
                one = 1;
            }
            let request = receiver.try_recv().unwrap();
            one -= u32::from(request == 77);
            served.push(request);
        }
        assert_eq!(served.iter().filter(|request| **request == 77).count(), 5, "{served:?}");
    }

    #[tokio::test]
    async fn the_last_request_follows_those_before_it_and_later_ones_are_never_served() {
        let (sender, mut receiver) = filled(&[(HEAVY, 1, 1), (LIGHT, 1, 2)]).await;
        sender.send_last(9).unwrap();
        assert_eq!(sender.send_last(10), Err(Closed));
        sender.send(HEAVY, 1, 3).await.unwrap();
        sender.send_urgent(0).unwrap();
        assert_eq!(drained(&mut receiver), [0, 1, 2, 9]);
        assert!(timeout(Duration::from_millis(1), receiver.recv()).await.is_err());
        drop(receiver);
        assert!(sender.is_closed());
        assert_eq!(sender.send(HEAVY, 1, 4).await, Err(Closed));
        assert_eq!(sender.send_urgent(4), Err(Closed));
    }

    #[tokio::test]
    async fn a_full_queue_lets_a_second_client_in_and_ends_all_waits_when_it_closes() {
        let (sender, mut receiver) = fair_queue(4);
        for request in 0..2 {
            sender.send(HEAVY, 1, request).await.unwrap();
        }
        let (again, waiting) = (sender.clone(), sender.clone());
        let waits = tokio::spawn(async move { waiting.send(HEAVY, 1, 2).await });
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        sender.send(LIGHT, 1, 3).await.unwrap();
        // Beside another client, each may hold one place of four.
        assert_eq!(receiver.recv().await, Some(0));
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        assert_eq!(receiver.recv().await, Some(3));
        assert_eq!(waits.await.unwrap(), Ok(()));
        let waits = tokio::spawn(async move { again.send(HEAVY, 1, 4).await });
        tokio::task::yield_now().await;
        drop(receiver);
        assert_eq!(waits.await.unwrap(), Err(Closed));
    }

    #[tokio::test]
    async fn without_senders_the_rest_is_served_and_then_the_end_is_told() {
        let (sender, mut receiver) = filled(&[(HEAVY, 1, 1)]).await;
        let other = sender.clone();
        drop(sender);
        assert_eq!(receiver.recv().await, Some(1));
        let ended = tokio::spawn(async move { receiver.recv().await });
        tokio::task::yield_now().await;
        drop(other);
        assert_eq!(ended.await.unwrap(), None);
    }

    fn requests() -> impl Strategy<Value = Vec<(ClientKey, usize)>> {
        let client = (1..5u64).prop_map(ClientKey);
        prop::collection::vec((client, 1..50usize), 1..200)
    }

    proptest! {
        #![proptest_config(test_cases::cases(256))]

        /// While two clients have requests waiting, the costs that were served differ by at most the
        /// largest request of each. The requests of one client keep their order.
        #[test]
        fn waiting_clients_are_served_the_same_cost(requests in requests()) {
            let mut queue = Queue::default();
            let places = Shares::new(10_000);
            for (number, (client, cost)) in requests.iter().enumerate() {
                let place = places.try_take(ClientKey(number as u64 + 10), 1).unwrap();
                queue.push(*client, *cost as u64, ((*client, *cost, number), place));
            }
            let mut served: HashMap<ClientKey, (usize, Option<usize>)> = HashMap::new();
            while let Some((client, cost, number)) = queue.pop() {
                let (sum, last) = served.entry(client).or_default();
                prop_assert!(last.is_none_or(|last| last < number), "the order of {:?}", client);
                (*sum, *last) = (*sum + cost, Some(number));
                let of = |client| served.get(client).map_or(0, |(sum, _)| *sum);
                let waiting: Vec<_> = queue.starts.iter().map(|(_, client)| of(client)).collect();
                let least = waiting.iter().min().copied().unwrap_or(0);
                let most = waiting.iter().max().copied().unwrap_or(0);
                prop_assert!(most - least <= 100, "{waiting:?}");
            }
            let all: usize = served.values().map(|(sum, _)| *sum).sum();
            prop_assert_eq!(all, requests.iter().map(|(_, cost)| cost).sum::<usize>());
            prop_assert!(queue.clients.is_empty() && queue.ends.is_empty());
        }
    }
}
