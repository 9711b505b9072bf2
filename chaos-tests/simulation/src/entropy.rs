//! Replaces the random numbers of the operating system, which hash tables and `select!` use.
//!
//! The standard library calls `getrandom` of the C library once for each thread. The function here
//! replaces it and returns bytes that follow from the seed. A simulation therefore runs in a
//! separate process, on a thread that is started after [`seed`].

use std::sync::atomic::{AtomicU64, Ordering};

static SEED: AtomicU64 = AtomicU64::new(0);

/// Sets the seed, from which alone the random numbers follow from now on.
pub fn seed(seed: u64) {
    SEED.store(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, Ordering::SeqCst);
}

/// Replaces `getrandom` of the C library.
///
/// # Safety
/// As for `getrandom` of the C library: `buffer` holds `length` bytes.
// There is no safe way to replace a function of the C library; this one is linked into tests only.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    let seed = SEED.load(Ordering::SeqCst);
    for at in 0..length {
        let mixed = (seed ^ (at as u64)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        // SAFETY: the caller promises that `buffer` holds `length` bytes.
        unsafe { buffer.add(at).write((mixed >> 32) as u8) };
    }
    isize::try_from(length).unwrap_or(isize::MAX)
}
