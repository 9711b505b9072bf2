//! Limits repeated warnings to one line per cause and minute, with a count.
//!
//! ```text
//!  warning or error --> Repeats::admit   the first of its cause is written, later ones are counted
//!                            |
//!                       Repeats::due     each minute: one line for each cause that was counted
//! ```
//!
//! A cause consists of the place in the code, the text, and the partition, node or address in the
//! fields. Numbers in the text (times, segment numbers, process ids) do not distinguish causes.
//! Memory is bounded: after [`CAUSES_MAX`] causes of one place, all further causes of that place
//! count as one.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::registry::LookupSpan;

/// The time in which at most one line per cause is written.
const WINDOW: Duration = Duration::from_secs(60);
/// Maximum number of distinct causes for one place in the code.
const CAUSES_MAX: usize = 32;
/// Maximum length of the kept text of a cause.
const TEXT_MAX: usize = 1_000;
/// Fields whose numbers distinguish causes.
const SUBJECTS: [&str; 7] = ["partition", "node", "name", "address", "home", "sender", "consumer"];
/// The target of lines that report repeats; these lines are not counted themselves.
const TARGET: &str = "turnpike::repeats";

/// A cause of warnings, with the count of its present window of [`WINDOW`].
#[derive(Debug)]
struct Cause {
    level: Level,
    since: Instant,
    suppressed: u64,
    /// The text of the newest suppressed line.
    text: String,
}

/// The suppressed lines of one cause in the last window.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Repeated {
    pub(crate) level: Level,
    pub(crate) suppressed: u64,
    /// The text of the newest suppressed line.
    pub(crate) text: String,
}

type Causes = HashMap<Identifier, HashMap<String, Cause>>;

/// The limiter of a process's repeated warnings; clones share the counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Repeats {
    causes: Arc<Mutex<Causes>>,
}

impl Repeats {
    /// Decides whether the line is written at `now`; if not, counts it.
    fn admit(&self, place: Identifier, line: Line, level: Level, now: Instant) -> bool {
        let mut causes = self.causes();
        let of_place = causes.entry(place).or_default();
        let key = if of_place.contains_key(&line.key) || of_place.len() < CAUSES_MAX {
            line.key
        } else {
            String::new()
        };
        let Some(cause) = of_place.get_mut(&key) else {
            let fresh = Cause { level, since: now, suppressed: 0, text: String::new() };
            of_place.insert(key, fresh);
            return true;
        };
        if cause.suppressed == 0 && now - cause.since >= WINDOW {
            cause.since = now;
            return true;
        }
        cause.suppressed += 1;
        cause.text = line.text;
        false
    }

    /// The causes to report at `now`: those whose window has ended. A cause without repeats in its
    /// window is removed.
    fn due(&self, now: Instant) -> Vec<Repeated> {
        self.take(|cause| now - cause.since >= WINDOW, now)
    }

    /// All counts that have not been reported yet.
    fn rest(&self, now: Instant) -> Vec<Repeated> {
        self.take(|_| true, now)
    }

    fn take(&self, is_due: impl Fn(&Cause) -> bool, now: Instant) -> Vec<Repeated> {
        let mut told = Vec::new();
        let mut causes = self.causes();
        for of_place in causes.values_mut() {
            of_place.retain(|_, cause| {
                if !is_due(cause) {
                    return true;
                }
                let suppressed = std::mem::take(&mut cause.suppressed);
                if suppressed == 0 {
                    return false;
                }
                cause.since = now;
                let text = std::mem::take(&mut cause.text);
                told.push(Repeated { level: cause.level, suppressed, text });
                true
            });
        }
        told
    }

    fn causes(&self) -> MutexGuard<'_, Causes> {
        // A poisoned lock is used too, because no code panics while it holds this lock.
        self.causes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports repeats each minute, until the process ends.
    pub(crate) async fn log(self) {
        let mut looks = tokio::time::interval(Duration::from_secs(1));
        loop {
            let now = looks.tick().await;
            self.due(now).iter().for_each(write);
        }
    }

    /// Reports the remaining counts, at the end of the process.
    pub(crate) fn log_rest(&self) {
        self.rest(Instant::now()).iter().for_each(write);
    }
}

fn write(Repeated { level, suppressed, text }: &Repeated) {
    let seconds = WINDOW.as_secs();
    if *level == Level::ERROR {
        tracing::error!(target: TARGET, suppressed, seconds, "repeated: {text}");
    } else {
        tracing::warn!(target: TARGET, suppressed, seconds, "repeated: {text}");
    }
}

/// The text of a log line, and the key of its cause.
#[derive(Debug, Default)]
struct Line {
    text: String,
    key: String,
}

impl Line {
    fn of(event: &Event<'_>) -> Self {
        let mut line = Self::default();
        event.record(&mut line);
        line
    }

    /// Adds a field to the text of the line. Its value becomes part of the key if the field is one
    /// of [`SUBJECTS`], or, without its numbers, if `words` states that the value is text.
    fn add(&mut self, field: &Field, value: &dyn fmt::Display, words: bool) {
        let (name, value) = (field.name(), value.to_string());
        let room = TEXT_MAX.saturating_sub(self.text.len());
        let shown: String = value.chars().take(room).collect();
        let gap = if self.text.is_empty() { "" } else { " " };
        // The message comes first, as in a log line.
        if name == "message" {
            self.text.insert_str(0, &format!("{shown}{}", if gap.is_empty() { "" } else { " " }));
        } else {
            // A value that can't be shown must not stop the program.
            let _ = write!(self.text, "{gap}{name}={shown}");
        }
        if SUBJECTS.contains(&name) {
            // As above.
            let _ = write!(self.key, "{name}={shown};");
        } else if words {
            // As above.
            let _ = write!(self.key, "{name}={};", without_numbers(&shown));
        }
    }
}

/// The text with each number replaced by `#`.
fn without_numbers(words: &str) -> String {
    let mut out = String::with_capacity(words.len());
    for letter in words.chars() {
        if !letter.is_ascii_digit() {
            out.push(letter);
        } else if !out.ends_with('#') {
            out.push('#');
        }
    }
    out
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format_args!("{value:?}"), true);
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, &value, true);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, &value, false);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, &value, false);
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, &value, false);
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Filter<S> for Repeats {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        // `Level` is ordered by verbosity: greater is more verbose.
        if *metadata.level() > Level::WARN || metadata.target() == TARGET {
            return true;
        }
        self.admit(metadata.callsite(), Line::of(event), *metadata.level(), Instant::now())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }
}

#[cfg(test)]
mod tests;
