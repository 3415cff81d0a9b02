//! How much an extension may use.

use std::time::Duration;

/// Bounds on what one extension uses. Each has a safe default and stands in the grant under the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of one instance, in bytes. Default 64 MiB.
    pub memory: u64,
    /// From the start of a call to its end, guest code and host calls together. Default 5 s.
    pub deadline: Duration,
    /// Time that the guest's own code runs, of one call. Default 1 s.
    pub cpu: Duration,
    /// Requests to the API server, steadily. Default 20.
    pub requests_per_second: u32,
    /// Requests to the API server at once after a pause. Default 40.
    pub burst: u32,
    /// Requests to the API server that may be under way together. Default 8.
    pub in_flight: u32,
    /// Bytes of one answer. Default 8 MiB.
    pub response_bytes: u64,
    /// Watches open together. Default 8.
    pub watches: u32,
    /// Resources that the guest holds handles to. Default 1024.
    pub handles: u32,
    /// Bytes of standard output, standard error and log lines a second. Default 64 KiB.
    pub log_bytes_per_second: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            deadline: Duration::from_secs(5),
            cpu: Duration::from_secs(1),
            requests_per_second: 20,
            burst: 40,
            in_flight: 8,
            response_bytes: 8 << 20,
            watches: 8,
            handles: 1024,
            log_bytes_per_second: 64 << 10,
        }
    }
}
