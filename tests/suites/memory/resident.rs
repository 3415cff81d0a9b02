//! This process's resident memory.

use std::fs;

pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;

/// Sets the peak back to what is resident now, and returns that.
pub(crate) fn begin() -> u64 {
    // `CLEAR_REFS_MM_HIWATER_RSS` of the kernel's `fs/proc/task_mmu.c`.
    fs::write("/proc/self/clear_refs", "5").expect("Linux sets the peak back");
    field("VmRSS:")
}

/// Returns the peak of resident memory since the last reset.
pub(crate) fn peak() -> u64 {
    field("VmHWM:")
}

fn field(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * KIB
}
