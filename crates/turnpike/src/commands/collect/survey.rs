//! A first pass over the log, before any change: its requesters and their times.

use std::collections::HashMap;

use anyhow::bail;
use turnpike_collect::Fault;
use turnpike_types::Timestamp;

use crate::usage_file::Rows;

/// The requesters of a log and the times of their accesses.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// In order of first appearance.
    pub(crate) requesters: Vec<Requester>,
    /// The oldest access of the log.
    pub(crate) oldest: Option<Timestamp>,
    pub(crate) newest: Option<Timestamp>,
}

/// An identity in the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Requester {
    pub(crate) identity: String,
    /// Its latest access.
    pub(crate) newest: Timestamp,
}

impl Survey {
    /// Reads the whole log. Bad rows are reported later, when the records are sent.
    pub(crate) fn of(log: Rows) -> anyhow::Result<Self> {
        let mut survey = Self::default();
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut first_fault: Option<Fault> = None;
        for row in log {
            let record = match row {
                Ok(row) => row.content,
                // The file is damaged, or is not a log: do not act on a part of it.
                Err(fault) if fault.is_fatal() => return Err(fault.into()),
                Err(fault) => {
                    first_fault.get_or_insert(fault);
                    continue;
                }
            };
            let start = record.start;
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
        match (survey.requesters.is_empty(), first_fault) {
            (true, Some(fault)) => bail!("no line is a valid access; nothing was changed. {fault}"),
            (true, None) => bail!("the log is empty; nothing was changed"),
            (false, _) => Ok(survey),
        }
    }
}
