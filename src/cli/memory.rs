//! Largest resident memory of the process, which Linux alone tells in a file.

/// Forgets the largest so far, where the system lets a process do that; else it stays the largest since the start.
pub fn reset_peak() {
    // What cannot be reset is only less sharp.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Largest resident memory in bytes since the start or [`reset_peak`].
pub fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}
