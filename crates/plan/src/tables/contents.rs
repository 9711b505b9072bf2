//! The content of rows, from which the hash of a table is computed (docs/formats.md).

use turnpike_types::Must;

/// Why the length of a value fits two bytes.
const SHORT: &str = "a value has at most CELL_BYTES_MAX bytes";
/// Why an offset fits four bytes.
const BOUNDED: &str = "a table has at most TABLE_BYTES_MAX bytes";

/// The canonical forms of rows: for each row the values of all columns, each after its length, and the
/// rank of the row. They are kept in one buffer, because a table has up to a million rows.
#[derive(Debug)]
pub(super) struct RowContents {
    /// Lengths have two bytes here and eight when they are hashed; ranks have four. All are little
    /// endian, so that both forms have the same order.
    bytes: Vec<u8>,
    /// The end of each row in `bytes`.
    ends: Vec<u32>,
}

impl RowContents {
    /// No rows yet, and room for `rows` rows of this number of columns in a text of `text` bytes.
    pub(super) fn with_room_for(rows: usize, text: usize, columns: usize) -> Self {
        let bytes = text.saturating_add(rows.saturating_mul(2 * columns + 4));
        Self { bytes: Vec::with_capacity(bytes), ends: Vec::with_capacity(rows) }
    }

    pub(super) fn push<'r>(&mut self, cells: impl Iterator<Item = &'r str>, rank: u32) {
        for cell in cells {
            let length = u16::try_from(cell.len()).must(SHORT);
            self.bytes.extend_from_slice(&length.to_le_bytes());
            self.bytes.extend_from_slice(cell.as_bytes());
        }
        self.bytes.extend_from_slice(&rank.to_le_bytes());
        self.ends.push(u32::try_from(self.bytes.len()).must(BOUNDED));
    }

    pub(super) const fn len(&self) -> usize {
        self.ends.len()
    }

    /// Hashes the rows in canonical order, which is not that of the text.
    pub(super) fn hash(&self, hasher: &mut blake3::Hasher) {
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_unstable_by_key(|&row| self.row(row));
        let mut form = Vec::new();
        for row in order {
            form.clear();
            expand(self.row(row), &mut form);
            hasher.update(&form);
        }
    }

    fn row(&self, row: usize) -> &[u8] {
        let end = |row: usize| self.ends[row] as usize;
        let start = row.checked_sub(1).map_or(0, end);
        &self.bytes[start..end(row)]
    }
}

/// Writes a row with lengths of eight bytes.
fn expand(mut row: &[u8], form: &mut Vec<u8>) {
    // What remains after the last value is the rank.
    while let Some((length, rest)) = row.split_first_chunk::<2>().filter(|_| row.len() > 4) {
        let length = u16::from_le_bytes(*length);
        form.extend_from_slice(&u64::from(length).to_le_bytes());
        let (value, after) = rest.split_at(usize::from(length));
        form.extend_from_slice(value);
        row = after;
    }
    form.extend_from_slice(row);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hash of a table is that of its rows' canonical forms in order, with lengths of eight bytes,
    /// as they were kept by earlier releases.
    #[test]
    fn the_hash_is_that_of_the_sorted_forms() {
        let long = "x".repeat(256);
        let rows =
            [(["b", ""], 0), (["a", "bc"], 2), (["a", "bc"], 1), ([&long, "c"], 0), (["", ""], 0)];
        let mut contents = RowContents::with_room_for(0, 0, 2);
        let mut forms = Vec::new();
        for (cells, rank) in rows {
            contents.push(cells.into_iter(), rank);
            let mut form = Vec::new();
            for cell in cells {
                super::super::rows::hash_text(cell, &mut form);
            }
            form.extend_from_slice(&u32::to_le_bytes(rank));
            forms.push(form);
        }
        forms.sort();
        let (mut expected, mut found) = (blake3::Hasher::new(), blake3::Hasher::new());
        for form in &forms {
            expected.update(form);
        }
        contents.hash(&mut found);
        assert_eq!(found.finalize(), expected.finalize());
    }
}
