//! Finds the bytes of a PostgreSQL connection that are the answer to a given statement.
//!
//! It parses only the needed part of the protocol (version 3, without encryption). A message of the
//! client is a type byte, a length and a body; messages of the start-up have no type byte. An
//! answer ends with `ReadyForQuery`.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The treatment of bytes of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerBytes {
    Pass,
    Swallow,
    Cut,
}

/// The order to lose answers: the text of the statements, and how many answers are still to be lost
/// and were lost. All connections of a proxy share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Losses(Arc<Mutex<Order>>);

#[derive(Debug, Default)]
struct Order {
    text: Vec<u8>,
    left: u32,
    done: u32,
}

impl Losses {
    pub(crate) fn arm(&self, text: &str, count: u32) {
        let mut order = self.order();
        (order.text, order.left) = (text.as_bytes().to_vec(), count);
    }

    pub(crate) fn done(&self) -> u32 {
        self.order().done
    }

    fn order(&self) -> MutexGuard<'_, Order> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the answer to a statement of this text is to be lost. If so, reduces the number of
    /// answers still to be lost by one.
    fn take(&self, text: &[u8]) -> bool {
        let mut order = self.order();
        let hit = order.left > 0 && contains(text, &order.text);
        order.left -= u32::from(hit);
        hit
    }
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    !wanted.is_empty() && text.windows(wanted.len()).any(|window| window == wanted)
}

/// The number of bytes of a message that are examined; longer messages hold bodies of segments.
const LOOK_BYTES: usize = 8 * 1024;
/// The most prepared statements that are kept for a connection.
const STATEMENTS_MAX: usize = 1_000;

/// The state of one connection's protocol.
#[derive(Debug, Default)]
pub(crate) struct Conversation {
    started: bool,
    /// The first bytes of the client's message that is being received.
    head: Vec<u8>,
    /// The number of bytes of that message that are still to come and are not examined.
    skipped: usize,
    /// The prepared statements, as name and text.
    statements: HashSet<(Vec<u8>, Vec<u8>)>,
    /// Whether the next answer is to be lost, or is being received and lost.
    loses: bool,
    /// The last bytes received from the server.
    tail: Vec<u8>,
}

const READY: &[u8] = b"Z\0\0\0\x05I";

impl Conversation {
    /// Processes bytes of the client.
    pub(crate) fn request(&mut self, mut bytes: &[u8], losses: &Losses) {
        while !bytes.is_empty() {
            let skipped = self.skipped.min(bytes.len());
            self.skipped -= skipped;
            bytes = bytes.split_at(skipped).1;
            let Some(&byte) = bytes.first() else { return };
            self.head.push(byte);
            bytes = bytes.split_at(1).1;
            let typed = usize::from(self.started);
            let Some(length) = self.head.get(typed..typed + 4) else { continue };
            let length = length.iter().fold(0_usize, |sum, &byte| sum << 8 | usize::from(byte));
            let all = length.max(4) + typed;
            if self.head.len() >= all.min(LOOK_BYTES) {
                self.skipped = all - self.head.len();
                self.message(losses);
                self.head.clear();
            }
        }
    }

    fn message(&mut self, losses: &Losses) {
        if !self.started {
            // A request for encryption, which the server denies, may precede the start-up message.
            let version = self.head.get(4..8);
            self.started = version == Some(&[0, 3, 0, 0]);
            return;
        }
        let body = self.head.get(5..).unwrap_or_default();
        let mut parts = body.splitn(3, |&byte| byte == 0);
        let (first, second) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        match self.head.first() {
            Some(b'P') if self.statements.len() < STATEMENTS_MAX => {
                self.statements.retain(|(name, _)| name != first);
                self.statements.insert((first.to_vec(), second.to_vec()));
            }
            // A Bind message holds the name of the portal, then the name of the statement.
            Some(b'B') => {
                let text = self.statements.iter().find(|(name, _)| name == second);
                self.loses |= text.is_some_and(|(_, text)| losses.take(text));
            }
            Some(b'Q') => self.loses |= losses.take(first),
            _ => {}
        }
    }

    /// Processes bytes of the server, and decides on their treatment.
    pub(crate) fn answer(&mut self, bytes: &[u8], losses: &Losses) -> ServerBytes {
        if !self.loses {
            return ServerBytes::Pass;
        }
        self.tail.extend_from_slice(bytes);
        let surplus = self.tail.len().saturating_sub(READY.len());
        self.tail.drain(..surplus);
        if self.tail == READY {
            losses.order().done += 1;
            return ServerBytes::Cut;
        }
        ServerBytes::Swallow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u32 + 4).to_be_bytes();
        [&[kind], &length[..], body].concat()
    }

    fn start() -> Vec<u8> {
        let encryption = [0, 0, 0, 8, 4, 210, 22, 47];
        [&encryption[..], &[0, 0, 0, 9, 0, 3, 0, 0, 0]].concat()
    }

    fn said() -> Vec<u8> {
        let append = message(b'P', b"s1\0INSERT INTO segments\0\0\0");
        let other = message(b'P', b"s2\0SELECT 1\0\0\0");
        let large = message(b'd', &vec![b'B'; 3 * LOOK_BYTES]);
        [start(), append, other, large, message(b'B', b"\0s2\0"), message(b'S', b"")].concat()
    }

    #[test]
    fn only_the_statement_that_was_named_loses_its_answer_however_its_bytes_are_cut() {
        for size in [1, 7, 100_000] {
            let (losses, mut talk) = (Losses::default(), Conversation::default());
            losses.arm("INTO segments", 1);
            said().chunks(size).for_each(|bytes| talk.request(bytes, &losses));
            assert_eq!(talk.answer(READY, &losses), ServerBytes::Pass);
            talk.request(&message(b'B', b"\0s1\0"), &losses);
            assert_eq!(talk.answer(b"2\0\0\0\x04C\0\0\0", &losses), ServerBytes::Swallow);
            assert_eq!(losses.done(), 0);
            assert_eq!(talk.answer(&READY[..2], &losses), ServerBytes::Swallow);
            assert_eq!(talk.answer(&READY[2..], &losses), ServerBytes::Cut);
            assert_eq!(losses.done(), 1);
        }
    }

    #[test]
    fn the_requested_number_of_answers_is_lost() {
        let (losses, mut talk) = (Losses::default(), Conversation::default());
        losses.arm("nothing of the kind", 3);
        talk.request(&said(), &losses);
        talk.request(&message(b'B', b"\0s1\0"), &losses);
        assert_eq!(talk.answer(READY, &losses), ServerBytes::Pass);
        losses.arm("segments", 1);
        let mut other = Conversation::default();
        other.request(&said(), &losses);
        other.request(&message(b'B', b"\0s1\0"), &losses);
        talk.request(&message(b'B', b"\0s1\0"), &losses);
        assert_eq!(talk.answer(READY, &losses), ServerBytes::Pass);
        assert_eq!(other.answer(READY, &losses), ServerBytes::Cut);
    }
}
