//! The pauses before restarts.

use std::time::Duration;

use crate::policy::Restart;

/// The run time after which a command counts as healthy. The pause after a healthy run is the first pause again.
const HEALTHY: Duration = Duration::from_mins(10);

/// The exponential backoff of restarts, with jitter, between the first and the longest pause of a manifest.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(super) fn new(restart: &Restart) -> Self {
        Self { next: restart.first }
    }

    /// Returns the pause after a command that ran for `ran`: between half of the backoff and all of it.
    pub(super) fn pause(&mut self, restart: &Restart, ran: Duration) -> Duration {
        if ran >= HEALTHY {
            self.next = restart.first;
        }
        let pause = self.next.clamp(restart.first, restart.most);
        self.next = pause.saturating_mul(2).min(restart.most);
        pause.mul_f64(0.5 + chance() / 2.0)
    }
}

/// Returns a random number from 0 to 1, or 1 if the system has no randomness.
pub(super) fn chance() -> f64 {
    let mut bytes = [0; 4];
    match getrandom::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_again_after_health() {
        let restart = Restart::default();
        let mut backoff = Backoff::new(&restart);
        let ran = Duration::from_secs(1);
        for whole in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            let (pause, whole) = (backoff.pause(&restart, ran), Duration::from_secs(whole));
            assert!(whole / 2 <= pause && pause <= whole, "{pause:?} of {whole:?}");
        }
        assert!(backoff.pause(&restart, HEALTHY) <= restart.first);
    }
}
