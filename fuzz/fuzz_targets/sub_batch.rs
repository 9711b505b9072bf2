//! `sub_batch` of `entries` says what must hold.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    fuzz_entries::sub_batch(input);
});
