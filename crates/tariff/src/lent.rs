//! Tables that are not in the catalogue, because no plan in force reads them: a recycled record, or a
//! charge of an earlier time, needs them for once.

use std::collections::VecDeque;
use std::sync::Arc;

use turnpike_plan::Table;

use crate::catalogue::UnreadTable;

/// The number of tables up to which their rows are not counted, so that one tariff finds all its tables.
const TABLES_MIN: usize = 64;
/// The number of rows of all lent tables together.
const ROWS_MAX: usize = 2_000_000;

/// The tables that were lent, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Lent {
    tables: VecDeque<(UnreadTable, Option<Arc<Table>>)>,
}

impl Lent {
    /// The content of a version; `None` if this program can't read it.
    ///
    /// # Errors
    /// It has not been lent.
    pub(crate) fn get(&self, wanted: UnreadTable) -> Result<Option<&Arc<Table>>, UnreadTable> {
        let found = self.tables.iter().find(|(unread, _)| *unread == wanted);
        found.map(|(_, table)| table.as_ref()).ok_or(wanted)
    }

    pub(crate) fn put(&mut self, unread: UnreadTable, table: Option<Arc<Table>>) {
        self.tables.retain(|(known, _)| *known != unread);
        self.tables.push_back((unread, table));
    }

    /// Drops the oldest tables once there are too many. Returns whether there were.
    pub(crate) fn trim(&mut self) -> bool {
        let before = self.tables.len();
        while self.tables.len() > TABLES_MIN && self.rows() > ROWS_MAX {
            self.tables.pop_front();
        }
        self.tables.len() < before
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.tables.clear();
    }

    fn rows(&self) -> usize {
        self.tables.iter().filter_map(|(_, table)| table.as_ref()).map(|table| table.rows()).sum()
    }
}
