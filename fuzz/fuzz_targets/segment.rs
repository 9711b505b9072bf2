//! `segment` of `entries` says what must hold.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: {
        // A panic of arrow is an error of the decoder, which catches it. libFuzzer's hook would end
        // the process before.
        let ending = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let is_caught = panic.location().is_some_and(|at| at.file().contains("/arrow-"));
            if !is_caught {
                ending(panic);
            }
        }));
    },
    |input: &[u8]| {
        fuzz_entries::segment(input);
    }
);
