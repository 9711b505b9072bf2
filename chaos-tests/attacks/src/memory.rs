//! The memory of a process: its bound, and the most that it used.

use std::fs;

use anyhow::{Context as _, Result};

const MIB: u64 = 1 << 20;

/// `--memory` of the fronts and nodes under attack: the least that they accept.
pub const MEMORY: u64 = 128 * MIB;
/// The memory that a process may use beyond `--memory`: its code, an empty cluster's state, caches,
/// what the allocator keeps. A process without requests uses about 50 MiB, in a debug build.
const BESIDE: u64 = 256 * MIB;
/// Address space is also taken by the program's file and by stacks that are not used.
const UNUSED: u64 = 256 * MIB;

/// The most memory that a process may have used.
pub const RESIDENT_MAX: u64 = MEMORY + BESIDE;
/// The limit of its address space, which the operating system enforces: an allocation beyond it
/// fails, and ends the process.
pub const ADDRESS_SPACE_MAX: u64 = RESIDENT_MAX + UNUSED;

/// The most memory that the process has used since [`forget_peak`], in bytes.
///
/// # Errors
/// The process has ended.
pub fn peak(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    let kib: u64 = number.with_context(|| format!("no VmHWM in /proc/{pid}/status"))?.parse()?;
    Ok(kib * 1_024)
}

/// Begins to measure [`peak`] anew.
///
/// # Errors
/// The process has ended, or belongs to another user.
pub fn forget_peak(pid: u32) -> Result<()> {
    let file = format!("/proc/{pid}/clear_refs");
    fs::write(&file, "5").with_context(|| file.clone())
}

/// Bytes in whole MiB.
pub const fn mib(bytes: u64) -> u64 {
    bytes / MIB
}
