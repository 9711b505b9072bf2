//! The values of a column, each distinct text once: a table of a million rows has few different
//! destinations, prices and places.

use std::collections::HashMap;
use std::sync::Arc;

use turnpike_types::Must;

/// A text, and what it was read as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written<T> {
    pub(crate) text: Arc<str>,
    pub(crate) value: T,
}

/// The distinct values so far, numbered from 0 in the order of their first use.
#[derive(Debug)]
pub(super) struct Distinct<T> {
    numbers: HashMap<Arc<str>, u32>,
    values: Vec<Written<T>>,
}

impl<T> Default for Distinct<T> {
    fn default() -> Self {
        Self { numbers: HashMap::new(), values: Vec::new() }
    }
}

impl<T> Distinct<T> {
    /// The number of a text, whose value is `value`.
    pub(super) fn number(&mut self, text: &str, value: T) -> u32 {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let text: Arc<str> = text.into();
        let number = u32::try_from(self.values.len()).must("a table has fewer than 2^32 rows");
        self.numbers.insert(Arc::clone(&text), number);
        self.values.push(Written { text, value });
        number
    }

    /// The values by their numbers.
    pub(super) fn into_values(self) -> Box<[Written<T>]> {
        self.values.into()
    }
}

impl Distinct<()> {
    /// The text, shared with all equal texts.
    pub(super) fn shared(&mut self, text: &str) -> Arc<str> {
        let number = self.number(text, ());
        Arc::clone(&self.values[number as usize].text)
    }
}
