//! Parses any text as a table. The parser must not panic, and a second parse of an accepted text must give
//! the same content hash.
#![no_main]

use libfuzzer_sys::fuzz_target;
use turnpike_plan::parse_table;

fuzz_target!(|text: &str| {
    if let Ok(table) = parse_table(text) {
        let again = parse_table(text).expect("a table that was read is read again");
        assert_eq!(table.content_hash(), again.content_hash());
    }
});
