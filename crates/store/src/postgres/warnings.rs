//! Detects warnings that the server sends with its answers.
//!
//! After a cancelled wait for synchronous replication the server sends only a warning and an
//! ordinary answer: the statement has committed on the primary and may be missing on the standby
//! (P19). sqlx passes such notices only to `tracing`, so a `tracing` subscriber detects them while
//! a statement is polled. It ignores the text, which depends on the server's language: no statement
//! of this crate causes a warning in normal operation.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::LazyLock;

use tracing::dispatcher::{Dispatch, get_default, with_default};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

/// The `tracing` target of sqlx for notices of the server.
const NOTICES: &str = "sqlx::postgres::notice";

/// One listener for the process: each new dispatcher makes `tracing` rebuild its cache of
/// callsites.
static LISTENER: LazyLock<Dispatch> =
    LazyLock::new(|| Dispatch::new(Listener { logs: get_default(Dispatch::clone) }));

thread_local! {
    static WARNED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` to its end. Returns the output, and whether the server sent a warning meanwhile.
pub(super) async fn heeding<F: Future>(work: F) -> (F::Output, bool) {
    let mut work = pin!(work);
    let mut warned = false;
    let done = poll_fn(|context| {
        let outside = WARNED.replace(false);
        let polled = with_default(&LISTENER, || work.as_mut().poll(context));
        warned |= WARNED.replace(outside);
        polled
    });
    let done = done.await;
    (done, warned)
}

/// Records warnings of the server, and passes all events on to the process's log.
struct Listener {
    logs: Dispatch,
}

fn is_warning(metadata: &Metadata<'_>) -> bool {
    metadata.target() == NOTICES && *metadata.level() <= Level::WARN
}

impl Subscriber for Listener {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if is_warning(metadata) {
            return Interest::always();
        }
        self.logs.register_callsite(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // The level of the process's log, and at least warnings.
        Some(LevelFilter::current().max(LevelFilter::WARN))
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_warning(metadata) || self.logs.enabled(metadata)
    }

    fn event(&self, event: &Event<'_>) {
        if is_warning(event.metadata()) {
            WARNED.set(true);
        }
        if self.logs.enabled(event.metadata()) {
            self.logs.event(event);
        }
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.logs.new_span(span)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.logs.record(span, values);
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.logs.record_follows_from(span, follows);
    }

    fn enter(&self, span: &Id) {
        self.logs.enter(span);
    }

    fn exit(&self, span: &Id) {
        self.logs.exit(span);
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.logs.clone_span(id)
    }

    fn try_close(&self, id: Id) -> bool {
        self.logs.try_close(id)
    }
}
