//! The first pass over a log, before any change: collects the requesters and the times of their
//! accesses.
//!
//! An access that ends in the future is rejected by the cluster (P26), so it opens no account.

use std::collections::HashMap;

use anyhow::bail;
use turnpike_collect::Fault;
use turnpike_types::{Timestamp, limits};

use crate::usage_file::Rows;
use crate::{ui, values};

/// The requesters of a log and the times of their accesses, without the accesses in the future.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// In order of first appearance.
    pub(crate) requesters: Vec<Requester>,
    /// The start of the oldest access.
    pub(crate) oldest: Option<Timestamp>,
    pub(crate) newest: Option<Timestamp>,
    /// The accesses that end in the future.
    ahead: Ahead,
}

/// The accesses of a log that end in the future.
#[derive(Debug, Default)]
struct Ahead {
    count: u64,
    /// The latest start of such an access.
    newest: Option<Timestamp>,
}

/// An identity in the log, with its latest access.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Requester {
    pub(crate) identity: String,
    /// The start of the latest access of the identity.
    pub(crate) newest: Timestamp,
}

impl Survey {
    /// Reads the whole log at `now`. Bad rows are reported later, when the records are sent.
    pub(crate) fn of(log: Rows, now: Timestamp) -> anyhow::Result<Self> {
        let latest_end = now.saturating_add(limits::AHEAD_MAX_US);
        let mut survey = Self::default();
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut first_fault: Option<Fault> = None;
        for row in log {
            let record = match row {
                Ok(row) => row.content,
                // The file is damaged, or is not a log: no account may be opened for a part of it.
                Err(fault) if fault.is_fatal() => return Err(fault.into()),
                Err(fault) => {
                    first_fault.get_or_insert(fault);
                    continue;
                }
            };
            let start = record.start;
            if start.saturating_add(record.duration_us) > latest_end {
                survey.ahead.count += 1;
                survey.ahead.newest = survey.ahead.newest.max(Some(start));
                continue;
            }
            survey.oldest = Some(survey.oldest.map_or(start, |oldest| oldest.min(start)));
            survey.newest = Some(survey.newest.map_or(start, |newest| newest.max(start)));
            let known = places.get(&record.identity).copied();
            match known.and_then(|place| survey.requesters.get_mut(place)) {
                Some(requester) => requester.newest = requester.newest.max(start),
                None => {
                    places.insert(record.identity.clone(), survey.requesters.len());
                    let identity = record.identity;
                    survey.requesters.push(Requester { identity, newest: start });
                }
            }
        }
        if let Some(newest) = survey.ahead.newest {
            survey.tell_of_ahead(newest, now)?;
        }
        match (survey.requesters.is_empty(), first_fault) {
            (true, Some(fault)) => bail!("no line is a valid access; nothing was changed. {fault}"),
            (true, None) => bail!("the log is empty; nothing was changed"),
            (false, _) => Ok(survey),
        }
    }

    /// Prints that some accesses end in the future.
    ///
    /// # Errors
    /// All accesses of the log end in the future.
    fn tell_of_ahead(&self, newest: Timestamp, now: Timestamp) -> anyhow::Result<()> {
        let [newest, now] = [newest, now].map(|at| values::show_instant(at.micros()));
        if self.requesters.is_empty() {
            bail!(
                "every access is in the future: the log ends {newest}, and it is {now} by this \
                 machine's clock. Nothing was changed. Correct the clock, or the log's offset from \
                 UTC"
            );
        }
        let count = match self.ahead.count {
            1 => "1 access is in the future and will be rejected".to_owned(),
            more => format!("{} accesses are in the future and will be rejected", ui::count(more)),
        };
        ui::print_stderr(format_args!(
            "{count}: the log ends {newest}, and it is {now} by this machine's clock; a requester \
             that has no other access gets no account"
        ));
        Ok(())
    }
}
