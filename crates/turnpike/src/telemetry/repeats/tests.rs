//! The tests pass instants explicitly; no test waits.
#![allow(clippy::unwrap_used)]

use std::io::Write;

use tracing_subscriber::layer::SubscriberExt as _;

use super::*;

/// The place in the code from which all lines of these tests seem to come.
fn place() -> Identifier {
    static PLACES: std::sync::OnceLock<Identifier> = std::sync::OnceLock::new();
    PLACES.get_or_init(|| logged(|| tracing::warn!("a line that defines a place")).1).clone()
}

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The output of `log` through a limiter, and the place of its last line.
fn logged(log: impl Fn()) -> (String, Identifier) {
    let (sink, repeats) = (Sink::default(), Repeats::default());
    let out = sink.clone();
    let layer = tracing_subscriber::fmt::layer().without_time().with_ansi(false);
    let layer = tracing_subscriber::Layer::with_filter(
        layer.with_writer(move || out.clone()),
        repeats.clone(),
    );
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
    let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
    let place = repeats.causes().keys().next().cloned();
    (text, place.unwrap())
}

fn line(words: &str) -> Line {
    Line { text: words.to_owned(), key: without_numbers(words) }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_warning_each_second_for_an_hour_is_one_line_a_minute_and_every_one_is_counted() {
    let (repeats, begin) = (Repeats::default(), Instant::now());
    let (mut written, mut counted) = (0, 0);
    for second in 0..3_600 {
        let now = begin + SECOND * second;
        let due = repeats.due(now);
        assert!(due.len() <= 1);
        written += due.len();
        counted += due.iter().map(|repeated| repeated.suppressed).sum::<u64>();
        if repeats.admit(place(), line("it fails"), Level::WARN, now) {
            written += 1;
            counted += 1;
        }
    }
    counted += repeats.rest(begin + SECOND * 3_600).iter().map(|r| r.suppressed).sum::<u64>();
    assert_eq!(written, 60);
    assert_eq!(counted, 3_600);
}

#[test]
fn a_cause_that_recurs_after_a_minute_of_silence_is_written_at_once() {
    let (repeats, begin) = (Repeats::default(), Instant::now());
    assert!(repeats.admit(place(), line("it fails"), Level::WARN, begin));
    assert!(repeats.due(begin + SECOND * 61).is_empty(), "nothing was suppressed");
    assert!(repeats.admit(place(), line("it fails"), Level::WARN, begin + SECOND * 62));
}

#[test]
fn repeated_warnings_are_summed_up_with_count_level_and_newest_text() {
    let (repeats, begin) = (Repeats::default(), Instant::now());
    for second in 0..10 {
        let words = line(&format!("attempt {second} failed"));
        let is_first = second == 0;
        assert_eq!(repeats.admit(place(), words, Level::ERROR, begin + SECOND * second), is_first);
    }
    assert!(repeats.due(begin + SECOND * 59).is_empty());
    let text = "attempt 9 failed".to_owned();
    let told = Repeated { level: Level::ERROR, suppressed: 9, text };
    assert_eq!(repeats.due(begin + SECOND * 60), [told]);
    assert!(repeats.due(begin + SECOND * 120).is_empty());
    assert!(repeats.causes().values().all(HashMap::is_empty), "a cause without repeats is removed");
}

#[test]
fn causes_without_number_take_bounded_memory() {
    let (repeats, begin) = (Repeats::default(), Instant::now());
    let words = |cause: usize| "x".repeat(cause + 1);
    let written = (0..10_000)
        .filter(|&cause| repeats.admit(place(), line(&words(cause)), Level::WARN, begin))
        .count();
    assert_eq!(written, CAUSES_MAX + 1);
    let told = repeats.due(begin + WINDOW);
    assert_eq!(told.iter().map(|r| r.suppressed).sum::<u64>(), 10_000 - written as u64);
}

#[test]
fn other_partitions_and_other_messages_are_other_causes_and_other_numbers_in_them_are_not() {
    let (text, _) = logged(|| {
        for attempt in 1..=3 {
            for partition in [1_u32, 2] {
                tracing::warn!(partition, attempt, "the claim was not committed");
            }
            let error = format!("no answer within {attempt} s");
            tracing::error!(%error, "the heartbeat could not be written");
            tracing::error!(error = "refused", "the heartbeat could not be written");
            tracing::info!("not limited");
        }
    });
    let count = |words: &str| text.matches(words).count();
    assert_eq!(count("the claim was not committed"), 2, "{text}");
    assert_eq!(count("error=no answer within 1 s"), 1, "{text}");
    assert_eq!(count("heartbeat"), 2, "{text}");
    assert_eq!(count("not limited"), 3, "{text}");
}
