//! The content of an entry, with bounds.

use turnpike_proto::audit::v1::{AccountEntry, AuditOutcome, Entry, EntryKind};
use turnpike_types::capped;

use crate::Actor;

const PRINCIPAL_BYTES_MAX: usize = 256;
const ADDRESS_BYTES_MAX: usize = 128;
const TARGET_BYTES_MAX: usize = 512;
const DETAIL_BYTES_MAX: usize = 2_048;
const ACCOUNT_TEXT_BYTES_MAX: usize = 40;
/// The most accounts of an entry. With texts of at most [`ACCOUNT_TEXT_BYTES_MAX`] they fit.
const ACCOUNTS_MAX: usize = 1_000;

macro_rules! actions {
    ($($(#[doc = $doc:literal])+ $action:ident = $word:literal,)+) => {
        /// What is done.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Action { $($(#[doc = $doc])+ $action,)+ }

        impl Action {
            /// All actions.
            pub const ALL: &[Self] = &[$(Self::$action,)+];

            /// The word of the action in the log.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$action => $word,)+ }
            }
        }
    };
}

actions! {
    /// A version of a price plan is published.
    PlanPublish = "plan.publish",
    /// A version of a reference table is published.
    TablePublish = "table.publish",
    /// Commands change accounts and bindings of identities.
    AccountApply = "account.apply",
    /// Suspended records are rated again.
    SuspenseRecycle = "suspense.recycle",
    /// Partitions with their members are created.
    PartitionCreate = "partition.create",
    /// A partition is pinned to a member, or the pin is removed.
    PartitionPin = "partition.pin",
    /// A node is drained, or a drain ends.
    NodeDrain = "node.drain",
    /// A node is forgotten.
    NodeForget = "node.forget",
    /// A consumer of rated output is registered.
    ConsumerRegister = "consumer.register",
    /// A consumer of rated output is removed.
    ConsumerRemove = "consumer.remove",
    /// A role is granted.
    AccessGrant = "access.grant",
    /// A role is revoked.
    AccessRevoke = "access.revoke",
    /// A key that signs tokens is added.
    KeyAdd = "key.add",
    /// A key that signs tokens is retired.
    KeyRetire = "key.retire",
    /// A token is issued.
    TokenIssue = "token.issue",
    /// A token is revoked.
    TokenRevoke = "token.revoke",
    /// Certificates are revoked.
    CertificateRevoke = "certificate.revoke",
    /// Certificates that were revoked are valid again.
    CertificateRestore = "certificate.restore",
    /// Old entries of the audit log are trimmed.
    AuditTrim = "audit.trim",
}

/// A change that is about to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intent {
    /// What is changed, such as `plan calls version 3`.
    pub target: String,
    /// What else an auditor needs to know.
    pub detail: String,
    /// The accounts, each with what is asked.
    pub accounts: Vec<(u64, String)>,
    /// The size of the request, in bytes, if it is large: a change takes this room while it is made.
    pub bytes: usize,
}

impl Intent {
    /// A change of `target`.
    pub fn of(target: impl Into<String>) -> Self {
        Self { target: target.into(), ..Self::default() }
    }

    /// With a detail.
    #[must_use]
    pub fn with(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }
}

/// The entry of an intent, without its time and its accounts.
pub(crate) fn intent(actor: &Actor, action: Action, operation: [u8; 16], intent: &Intent) -> Entry {
    Entry {
        kind: EntryKind::Intent.into(),
        operation: operation.to_vec().into(),
        principal: cut(&actor.principal, PRINCIPAL_BYTES_MAX),
        address: cut(&actor.address, ADDRESS_BYTES_MAX),
        request_id: cut(&actor.request_id, ADDRESS_BYTES_MAX),
        action: action.word().to_owned(),
        target: cut(&intent.target, TARGET_BYTES_MAX),
        detail: cut(&intent.detail, DETAIL_BYTES_MAX),
        ..Entry::default()
    }
}

/// The entry of an outcome, without its time and its accounts.
pub(crate) fn outcome(intent: Entry, outcome: AuditOutcome, detail: &str) -> Entry {
    Entry {
        kind: EntryKind::Outcome.into(),
        outcome: outcome.into(),
        detail: cut(detail, DETAIL_BYTES_MAX),
        ..intent
    }
}

/// The entries of an operation with these accounts: usually one.
pub(crate) fn parts(entry: &Entry, all: &[(u64, String)]) -> Vec<Entry> {
    let chunks: Vec<&[(u64, String)]> =
        if all.is_empty() { vec![all] } else { all.chunks(ACCOUNTS_MAX).collect() };
    let count: u32 = capped(chunks.len());
    let of = |(part, chunk): (u32, &[(u64, String)])| Entry {
        accounts: accounts(chunk),
        part,
        parts_after: count - 1 - part,
        ..entry.clone()
    };
    (0..count).zip(chunks).map(of).collect()
}

fn accounts(all: &[(u64, String)]) -> Vec<AccountEntry> {
    let entry = |(account, what): &(u64, String)| AccountEntry {
        account: *account,
        what: cut(what, ACCOUNT_TEXT_BYTES_MAX),
    };
    all.iter().map(entry).collect()
}

/// The text, if it has at most `most` bytes; else its beginning and `…(+N)`, where N bytes are left
/// out. The result has at most `most` bytes.
fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    // Enough for the mark and a number of 20 digits would be more than short texts have. The number
    // of bytes of a request has at most 9 digits.
    let mut kept = most.saturating_sub("…(+)".len() + 9);
    while !text.is_char_boundary(kept) {
        kept -= 1;
    }
    format!("{}…(+{})", &text[..kept], text.len() - kept)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use prost::Message as _;
    use turnpike_store::AUDIT_ENTRY_BYTES_MAX;
    use turnpike_types::limits::ACCOUNT_COMMANDS_MAX;

    use super::*;

    fn actor() -> Actor {
        let text = |what: &str| what.repeat(10_000);
        Actor { principal: text("p"), address: text("a"), request_id: text("r") }
    }

    #[test]
    fn a_text_that_is_cut_says_how_much_is_left_out() {
        assert_eq!(cut("short", 5), "short");
        let long = "ab".repeat(50);
        let shown = cut(&long, 40);
        assert_eq!(shown, format!("{}…(+{})", &long[..25], 75));
        assert!(shown.len() <= 40);
        let umlauts = cut(&"ä".repeat(100), 40);
        assert!(umlauts.len() <= 40 && umlauts.starts_with("ää"), "{umlauts}");
    }

    /// No request that a front accepts is too large to be audited.
    #[test]
    fn the_entries_of_the_largest_request_fit() {
        let all = vec![(u64::MAX, "x".repeat(1_000)); ACCOUNT_COMMANDS_MAX];
        let large = Intent {
            target: "t".repeat(9_999),
            detail: "d".repeat(9_999),
            accounts: all,
            bytes: 0,
        };
        let entry = intent(&actor(), Action::AccountApply, [255; 16], &large);
        let done = outcome(entry.clone(), AuditOutcome::Partial, &large.detail);
        for entry in [entry, done] {
            let all = parts(&Entry { at_us: i64::MAX, ..entry }, &large.accounts);
            let accounts: usize = all.iter().map(|entry| entry.accounts.len()).sum();
            assert_eq!(accounts, ACCOUNT_COMMANDS_MAX, "no account is left out");
            for (entry, part) in all.iter().zip(0..) {
                assert!(entry.encoded_len() <= AUDIT_ENTRY_BYTES_MAX, "{}", entry.encoded_len());
                assert_eq!((entry.part, entry.parts_after), (part, 9 - part));
            }
        }
    }

    #[test]
    fn each_action_has_a_word_of_its_own() {
        let mut words: Vec<&str> = Action::ALL.iter().map(|action| action.word()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Action::ALL.len());
    }
}
