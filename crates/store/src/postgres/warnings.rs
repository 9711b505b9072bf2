//! What the server warns of while it answers.
//!
//! A cancelled wait for synchronous replication comes as a mere warning before an ordinary answer:
//! the statement has committed here, and perhaps nowhere else (P19). sqlx passes notices to
//! `tracing` and to nobody else, so they are listened for there, while a statement is polled. The
//! text is never looked at, since servers speak many languages: none of our statements warns of
//! anything when all is well.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::LazyLock;

use tracing::dispatcher::{Dispatch, get_default, with_default};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

/// Under this name sqlx passes on what servers say unasked.
const NOTICES: &str = "sqlx::postgres::notice";

/// One listener a process: each new one makes every place that logs ask again who is interested.
static LISTENER: LazyLock<Dispatch> =
    LazyLock::new(|| Dispatch::new(Listener { logs: get_default(Dispatch::clone) }));

thread_local! {
    static WARNED: Cell<bool> = const { Cell::new(false) };
}

/// Drives `work` to its end; what it came to, and whether the server warned of anything meanwhile.
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

/// Takes note of warnings, and hands on everything to where the process logs.
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
        // What is logged without us, and warnings.
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
