//! The details of the suspense reasons of a segment's records.

use turnpike_types::limits::DETAIL_BYTES_MAX;

use crate::error::SegmentError;
use crate::head::SuspenseDetail;

/// The detail texts, and the records that they belong to.
#[derive(Debug, Default)]
pub(crate) struct Details {
    texts: Vec<String>,
    /// Sorted by row: the row of the record, and the index of its text.
    rows: Vec<(u32, usize)>,
}

impl Details {
    /// Reads the details of a head, for a segment of `records` records.
    pub(crate) fn read(details: Vec<SuspenseDetail>, records: usize) -> Result<Self, SegmentError> {
        let mut read = Self::default();
        for (place, detail) in details.into_iter().enumerate() {
            if detail.text.len() > DETAIL_BYTES_MAX {
                return Err(SegmentError::Value("a suspense detail"));
            }
            if detail.records.iter().any(|&row| row as usize >= records) {
                return Err(SegmentError::Pointer("details.record"));
            }
            read.rows.extend(detail.records.into_iter().map(|row| (row, place)));
            read.texts.push(detail.text);
        }
        read.rows.sort_unstable();
        if read.rows.windows(2).any(|pair| matches!(pair, [one, next] if one.0 == next.0)) {
            return Err(SegmentError::Value("a record with two suspense details"));
        }
        Ok(read)
    }

    /// The detail of the record in `row`; empty if the record has none.
    pub(crate) fn of(&self, row: u32) -> &str {
        let found = self.rows.binary_search_by_key(&row, |(row, _)| *row).ok();
        let place = found.and_then(|at| self.rows.get(at)).map(|(_, place)| *place);
        place.and_then(|place| self.texts.get(place)).map_or("", String::as_str)
    }
}
