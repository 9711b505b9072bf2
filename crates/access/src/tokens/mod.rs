//! Tokens: their form, the keys that sign them, and the files of these keys.

pub mod form;
pub mod key_file;
