//! Additional data of a few lines: the line that a line was derived from, the table row of its
//! price, and the account to which its amount is posted if that is not the record's account. Marks
//! are stored in a separate block, because lines of plain usage have none and stay small.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, UInt8Array, UInt32Array, UInt64Array};
use turnpike_types::{AccountNumber, Posting};

use crate::columns::{column, nullable};
use crate::error::SegmentError;

/// The additional data of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The index of the line.
    pub(crate) line: u32,
    /// The line that this line was derived from.
    pub(crate) of: Option<u32>,
    /// The account to which the line's amount is posted.
    pub(crate) posting: Posting,
    /// The row of the reference table that the line's price was read from.
    pub(crate) row: Option<u32>,
}

/// Whether the control totals include the line's amount. Replaced and tentative lines, and lines
/// that post to no account, are not charged.
pub(crate) const fn is_counted(posting: Posting) -> bool {
    matches!(posting, Posting::Account | Posting::Second(_))
}

/// The number of lines that post to another account.
pub(crate) fn postings(marks: &[Mark]) -> u64 {
    marks.iter().filter(|mark| matches!(mark.posting, Posting::Second(_))).count() as u64
}

/// Checks that all marks refer to existing lines. `records` holds the record of each line.
///
/// # Errors
/// [`SegmentError`] with the name of the invalid column.
pub(crate) fn check(marks: &[Mark], records: &[u32]) -> Result<(), SegmentError> {
    let pointer = |name| Err(SegmentError::Pointer(name));
    if !marks.is_sorted_by(|left, right| left.line < right.line) {
        return pointer("marks.line");
    }
    for mark in marks {
        let Some(record) = records.get(mark.line as usize) else { return pointer("marks.line") };
        if let Some(of) = mark.of
            && (of >= mark.line || records.get(of as usize) != Some(record))
        {
            return pointer("marks.of");
        }
        if mark.posting == Posting::Second(AccountNumber(0)) {
            return Err(SegmentError::Value("a posting"));
        }
    }
    Ok(())
}

/// Encodes the marks as columns.
pub(crate) fn batch(marks: &[Mark]) -> Result<RecordBatch, SegmentError> {
    let lines: UInt32Array = marks.iter().map(|mark| Some(mark.line)).collect();
    let ofs: UInt32Array = marks.iter().map(|mark| mark.of).collect();
    let postings: UInt8Array = marks.iter().map(|mark| Some(code(mark.posting).0)).collect();
    let seconds: UInt64Array = marks.iter().map(|mark| Some(code(mark.posting).1)).collect();
    let mut columns = vec![
        ("line", Arc::new(lines) as ArrayRef, false),
        ("of", Arc::new(ofs) as _, true),
        ("posting", Arc::new(postings) as _, false),
        ("second_account", Arc::new(seconds) as _, false),
    ];
    // The column is left out if no line has a table row.
    if marks.iter().any(|mark| mark.row.is_some()) {
        let rows: UInt32Array = marks.iter().map(|mark| mark.row).collect();
        columns.push(("row", Arc::new(rows) as _, true));
    }
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}

/// Decodes marks from columns.
pub(crate) fn read(batch: &RecordBatch) -> Result<Vec<Mark>, SegmentError> {
    let line: UInt32Array = column(batch, "line")?;
    let of: UInt32Array = nullable(batch, "of")?;
    let code: UInt8Array = column(batch, "posting")?;
    let second: UInt64Array = column(batch, "second_account")?;
    let row: Option<UInt32Array> = match batch.column_by_name("row") {
        Some(_) => Some(nullable(batch, "row")?),
        None => None,
    };
    let mark = |at: usize| {
        let posting = posting(code.value(at), second.value(at));
        Ok(Mark {
            line: line.value(at),
            of: of.is_valid(at).then(|| of.value(at)),
            posting: posting.ok_or(SegmentError::Value("a posting"))?,
            row: row.as_ref().filter(|row| row.is_valid(at)).map(|row| row.value(at)),
        })
    };
    (0..line.len()).map(mark).collect()
}

/// The number of the posting in segments, and the account of [`Posting::Second`], else 0. The
/// numbers never change their meaning.
const fn code(posting: Posting) -> (u8, u64) {
    match posting {
        Posting::Account => (0, 0),
        Posting::Second(account) => (1, account.0),
        Posting::Nobody => (2, 0),
        Posting::Replaced => (3, 0),
        Posting::Tentative => (4, 0),
    }
}

/// The posting with this number.
const fn posting(code: u8, second: u64) -> Option<Posting> {
    match (code, second) {
        (0, 0) => Some(Posting::Account),
        (1, account) => Some(Posting::Second(AccountNumber(account))),
        (2, 0) => Some(Posting::Nobody),
        (3, 0) => Some(Posting::Replaced),
        (4, 0) => Some(Posting::Tentative),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn mark(line: u32, of: u32) -> Mark {
        Mark { line, of: Some(of), posting: Posting::Account, row: None }
    }

    #[test]
    fn a_line_is_made_from_an_earlier_line_of_its_own_record() {
        let records = [0, 0, 1, 1];
        assert!(check(&[mark(1, 0), mark(3, 2)], &records).is_ok());
        for wrong in [mark(1, 1), mark(1, 2), mark(2, 1), mark(4, 3)] {
            assert!(check(&[wrong], &records).is_err(), "{wrong:?}");
        }
        assert!(check(&[mark(3, 2), mark(1, 0)], &records).is_err(), "out of order");
        assert!(check(&[mark(1, 0), mark(1, 0)], &records).is_err(), "twice");
        let second = |account| Posting::Second(AccountNumber(account));
        let to = |account| [Mark { line: 0, of: None, posting: second(account), row: None }];
        assert!(check(&to(5), &records).is_ok());
        assert!(check(&to(0), &records).is_err(), "there is no account 0");
    }
}
