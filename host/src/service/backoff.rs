//! The pauses before restarts.

use std::time::Duration;

use attache_base::backoff::{doubled, with_jitter};

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
        let pause = self.next.max(restart.first).min(restart.most);
        self.next = doubled(pause, 1).min(restart.most);
        with_jitter(pause / 2, 1, random())
    }
}

/// Returns a random share of a span.
pub(super) fn share(of: Duration) -> Duration {
    with_jitter(of, 1, random()).saturating_sub(of)
}

/// Returns a random number, or the largest if the system has no randomness.
fn random() -> u32 {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).map_or(u32::MAX, |()| u32::from_ne_bytes(bytes))
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
