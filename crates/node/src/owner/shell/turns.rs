//! Whether several clients send to an owner, so that its segments should stay small.
//!
//! A segment is answered as a whole. A client with few records would wait for all records that
//! another client put into the same segment and into the one before it.

use turnpike_shares::ClientKey;

/// After this many requests of one client in a row, that client is alone again.
const ALONE_AFTER: u32 = 1_000;

/// The clients whose requests an owner took most recently.
#[derive(Debug)]
pub(super) struct Turns {
    last: ClientKey,
    /// The requests of the last client since one of another client.
    since: u32,
}

impl Turns {
    pub(super) const fn new() -> Self {
        Self { last: ClientKey::NONE, since: ALONE_AFTER }
    }

    /// Notes that a request of `client` was taken.
    pub(super) fn note(&mut self, client: ClientKey) {
        if client == ClientKey::NONE || client == self.last {
            self.since = self.since.saturating_add(1);
            return;
        }
        let is_first = self.last == ClientKey::NONE;
        self.last = client;
        self.since = if is_first { ALONE_AFTER } else { 0 };
    }

    /// Whether requests of several clients were taken recently.
    pub(super) const fn is_shared(&self) -> bool {
        self.since < ALONE_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_shared_from_the_second_client_until_one_is_alone_for_long() {
        let mut turns = Turns::new();
        turns.note(ClientKey(1));
        turns.note(ClientKey::NONE);
        turns.note(ClientKey(1));
        assert!(!turns.is_shared(), "one client, and the cluster itself");
        turns.note(ClientKey(2));
        assert!(turns.is_shared());
        (1..ALONE_AFTER).for_each(|_| turns.note(ClientKey(2)));
        assert!(turns.is_shared());
        turns.note(ClientKey(2));
        assert!(!turns.is_shared());
    }
}
