//! Pauses: how long a fault delays the answers of a partition to clients.

use crate::clock::{Micros, millis};
use crate::observations::BatchAnswer;

/// A fault in, or a planned change of, the cluster.
#[derive(Clone, Debug)]
pub struct InjectedFault {
    /// The description.
    pub what: String,
    /// The time at which the fault had taken effect.
    pub at: Micros,
    /// The time at which the fault ended; equal to `at` for a fault without a duration.
    pub until: Micros,
    /// The affected partitions.
    pub partitions: Vec<u32>,
    /// The method of measuring the pause of this fault.
    pub measure: PauseMeasure,
}

/// The methods of measuring a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseMeasure {
    /// From the fault to the first answer to a batch that was sent, or sent again, after it.
    FromFault,
    /// From the end of the fault to the first answer to a batch that was sent, or sent again, after
    /// the end. For faults that make service impossible until they end.
    FromEnd,
    /// The longest wait of the batches that were due during the fault or within 250 ms after it.
    /// For faults and planned changes during which the service should continue.
    LongestWait,
}

/// The time after a fault or planned change in which batches may still be delayed by it.
const AFTERMATH: Micros = 250_000;

/// The pause of one partition after one fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// The index of the fault.
    pub fault: usize,
    /// The partition.
    pub partition: u32,
    /// The length in microseconds; `None` if the partition was not served again.
    pub micros: Option<Micros>,
}

/// Answers by partition, in order of time.
#[derive(Debug)]
pub(crate) struct Answers(Vec<BatchAnswer>);

impl Answers {
    /// Sorts the answers by partition and time.
    pub(crate) fn new(mut answers: Vec<BatchAnswer>) -> Self {
        answers.sort_unstable_by_key(|answer| (answer.partition, answer.at));
        Self(answers)
    }

    fn of(&self, partition: u32) -> &[BatchAnswer] {
        let begin = self.0.partition_point(|answer| answer.partition < partition);
        let end = self.0.partition_point(|answer| answer.partition <= partition);
        self.0.get(begin..end).unwrap_or_default()
    }

    /// The time from `since` to the first answer to a batch that was sent after `since`.
    pub(crate) fn first_since(&self, partition: u32, since: Micros) -> Option<Micros> {
        let answers = self.of(partition);
        let later = answers.partition_point(|answer| answer.at < since);
        let first = answers.get(later..)?.iter().find(|answer| answer.sent >= since)?;
        Some(first.at - since)
    }

    fn longest_wait(&self, partition: u32, from: Micros, until: Micros) -> Option<Micros> {
        let due = self.of(partition).iter().filter(|answer| (from..=until).contains(&answer.due));
        due.map(|answer| answer.at.saturating_sub(answer.due)).max()
    }

    /// The pause of each fault in each affected partition.
    pub(crate) fn pauses(&self, faults: &[InjectedFault]) -> Vec<Pause> {
        let mut pauses = Vec::new();
        for (place, fault) in faults.iter().enumerate() {
            for &partition in &fault.partitions {
                let micros = match fault.measure {
                    PauseMeasure::FromFault => self.first_since(partition, fault.at),
                    PauseMeasure::FromEnd => self.first_since(partition, fault.until),
                    PauseMeasure::LongestWait => {
                        self.longest_wait(partition, fault.at, fault.until + AFTERMATH)
                    }
                };
                pauses.push(Pause { fault: place, partition, micros });
            }
        }
        pauses
    }
}

/// Quantiles of pauses, in milliseconds; a pause without an end counts as infinite.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Quantiles {
    /// The number of pauses.
    pub count: usize,
    /// The median.
    pub p50_ms: f64,
    /// The 99th percentile.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Quantiles {
    /// The quantiles of `pauses`.
    pub fn of(pauses: &[Pause]) -> Self {
        let mut all: Vec<Micros> =
            pauses.iter().map(|pause| pause.micros.unwrap_or(Micros::MAX)).collect();
        all.sort_unstable();
        let at = |part: f64| {
            let rank = (part * all.len() as f64).ceil() as usize;
            all.get(rank.saturating_sub(1)).copied().map_or(0.0, millis)
        };
        Self { count: all.len(), p50_ms: at(0.5), p99_ms: at(0.99), max_ms: at(1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(partition: u32, due: Micros, sent: Micros, at: Micros) -> BatchAnswer {
        BatchAnswer { partition, due, sent, at }
    }

    fn fault(at: Micros, until: Micros, measure: PauseMeasure) -> InjectedFault {
        InjectedFault { what: String::new(), at, until, partitions: vec![1], measure }
    }

    fn pause(answers: &[BatchAnswer], fault: InjectedFault) -> Option<Micros> {
        Answers::new(answers.to_vec()).pauses(&[fault])[0].micros
    }

    #[test]
    fn an_answer_to_a_batch_sent_before_the_fault_does_not_end_the_pause() {
        let answers = [answer(1, 80, 90, 105), answer(1, 95, 95, 400), answer(1, 110, 110, 420)];
        assert_eq!(pause(&answers, fault(100, 100, PauseMeasure::FromFault)), Some(320));
    }

    #[test]
    fn an_answer_to_a_batch_sent_again_after_the_fault_ends_the_pause() {
        let answers = [answer(1, 80, 150, 300), answer(1, 110, 151, 420)];
        assert_eq!(pause(&answers, fault(100, 100, PauseMeasure::FromFault)), Some(200));
        assert_eq!(pause(&answers, fault(100, 140, PauseMeasure::FromEnd)), Some(160));
    }

    #[test]
    fn another_partitions_answers_do_not_count() {
        let answers = [answer(2, 110, 110, 120)];
        assert_eq!(pause(&answers, fault(100, 100, PauseMeasure::FromFault)), None);
    }

    #[test]
    fn where_service_continues_the_longest_wait_counts_from_when_a_batch_was_due() {
        let answers =
            [answer(1, 90, 90, 5_000), answer(1, 110, 300, 700), answer(1, 120, 300, 701)];
        assert_eq!(pause(&answers, fault(100, 200, PauseMeasure::LongestWait)), Some(590));
    }

    #[test]
    fn quantiles_are_of_the_observed_pauses_and_include_an_endless_one() {
        let pause = |micros| Pause { fault: 0, partition: 1, micros };
        let mut pauses: Vec<Pause> = (1..=100).map(|n| pause(Some(n * 1_000))).collect();
        let quantiles = Quantiles::of(&pauses);
        assert_eq!((quantiles.p50_ms, quantiles.p99_ms, quantiles.max_ms), (50.0, 99.0, 100.0));
        pauses.push(pause(None));
        assert!(Quantiles::of(&pauses).max_ms > 1e12);
        assert_eq!(Quantiles::of(&[]).count, 0);
    }
}
