//! The names of reference tables: a plan names each table by its kind and id.

use std::fmt;
use std::str::FromStr;

use crate::language::nearest::hint;

/// The kind of data in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum TableKind {
    /// Prefixes of telephone numbers and their prices.
    DialPlan,
    /// Tax rates of places.
    Tax,
    /// Special days of places.
    Holidays,
    /// Exchange rates between currencies.
    ExchangeRates,
    /// Locations of networks.
    Addresses,
}

impl TableKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::DialPlan, Self::Tax, Self::Holidays, Self::ExchangeRates, Self::Addresses];

    /// The word for the kind in a table's first line.
    pub fn word(self) -> &'static str {
        self.into()
    }
}

impl fmt::Display for TableKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for TableKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.word() == text).ok_or_else(|| {
            let words = Self::ALL.map(Self::word);
            let hint = hint(text, words);
            format!("\"{text}\" is not a kind of table{hint}: write one of {}", words.join(", "))
        })
    }
}

/// A reference table that a plan names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableName {
    /// The kind of table.
    pub kind: TableKind,
    /// The table's id.
    pub id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words stand in published tables.
    #[test]
    fn the_words_for_kinds_of_tables_never_change() {
        let words = ["dial-plan", "tax", "holidays", "exchange-rates", "addresses"];
        assert_eq!(TableKind::ALL.map(TableKind::word), words);
        assert_eq!(words.map(str::parse), TableKind::ALL.map(Ok));
    }
}
