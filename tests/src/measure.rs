//! What the system says about a process.

use std::fs;

/// Memory, threads and open files of a process at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// Resident memory in KiB.
    pub resident_kib: u64,
    /// Threads.
    pub threads: u64,
    /// Open files and sockets.
    pub files: u64,
}

impl Footprint {
    /// Of the process with this id.
    pub fn of(process: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{process}/status")).expect("failed to read /proc; is it dead?");
        let figure = |name: &str| {
            let line =
                status.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in /proc"));
            let digits: String = line.chars().filter(char::is_ascii_digit).collect();
            digits.parse().expect("digits are a number")
        };
        let files = fs::read_dir(format!("/proc/{process}/fd")).expect("failed to read /proc").count();
        Self { resident_kib: figure("VmRSS:"), threads: figure("Threads:"), files: files as u64 }
    }
}
