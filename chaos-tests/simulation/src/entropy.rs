//! Where the operating system's chance would leak in: hash tables and `select!` draw from it.
//!
//! The standard library asks the C library's `getrandom` once a thread; this one stands in front of
//! it and gives bytes that follow from the seed. A simulation therefore runs in a process of its own, on a thread
//! that is started after [`seed`].

use std::sync::atomic::{AtomicU64, Ordering};

static SEED: AtomicU64 = AtomicU64::new(0);

/// From now on the operating system's chance follows from `seed`; 0: from nothing but itself.
pub fn seed(seed: u64) {
    SEED.store(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, Ordering::SeqCst);
}

/// In place of the C library's.
///
/// # Safety
/// As the C library's: `buffer` holds `length` bytes.
// There is no safe way to put a function in front of the C library's; it is linked into tests only.
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
