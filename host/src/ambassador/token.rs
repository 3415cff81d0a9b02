//! Tokens that only this host's ambassador accepts, for one extension, while it runs.
//!
//! Threat: a guest that guesses another extension's token, or carries its own away. A token is 256 bits from the
//! system's source of randomness. It is compared in constant time, is worthless at the API server, and ends with its
//! extension.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The beginning of each token, by which people and scanners for leaked secrets recognise it.
const TOKEN_PREFIX: &str = "attache_";

/// The random bytes of one token.
const RANDOM: usize = 32;

/// The tokens of one extension: the current one and, for a while after a change, the previous one. Clones share them.
#[derive(Clone)]
pub struct ScopedTokens(Arc<RwLock<Tokens>>);

struct Tokens {
    /// `None` when the extension has ended.
    current: Option<Zeroizing<String>>,
    issued: Instant,
    /// The previous token, and the end of its grace. `None` is no end.
    previous: Option<(Zeroizing<String>, Option<Instant>)>,
    rotation: Option<Rotation>,
}

/// The rotation: a token is replaced at the age of `every`, and accepted for `grace` more.
#[derive(Clone, Copy)]
struct Rotation {
    every: Duration,
    grace: Duration,
}

impl Tokens {
    fn is_due(&self) -> bool {
        self.current.is_some() && self.rotation.is_some_and(|rotation| self.issued.elapsed() >= rotation.every)
    }

    /// Makes `next` the current token. An extension that has ended gets none.
    fn replace(&mut self, next: Zeroizing<String>, grace_ends: Option<Instant>) {
        let Some(current) = self.current.take() else { return };
        self.previous = Some((current, grace_ends));
        self.current = Some(next);
        self.issued = Instant::now();
    }
}

impl ScopedTokens {
    /// Makes the first token.
    ///
    /// # Errors
    /// Fails if the system has no randomness. A guessable token is never made.
    pub fn issue() -> Result<Self, getrandom::Error> {
        Self::with(None)
    }

    /// Makes the first token, and a new one when the current one is read and older than `every`. The previous token is
    /// accepted for `grace` more, or until it has a second successor.
    ///
    /// # Errors
    /// Fails as [`ScopedTokens::issue`] does.
    pub fn rotating(every: Duration, grace: Duration) -> Result<Self, getrandom::Error> {
        Self::with(Some(Rotation { every, grace }))
    }

    fn with(rotation: Option<Rotation>) -> Result<Self, getrandom::Error> {
        let tokens = Tokens { current: Some(random()?), issued: Instant::now(), previous: None, rotation };
        Ok(Self(Arc::new(RwLock::new(tokens))))
    }

    /// Replaces a token whose time is over. Without randomness it stays current.
    fn rotate_if_due(&self) {
        if !self.0.read().unwrap_or_else(PoisonError::into_inner).is_due() {
            return;
        }
        let mut tokens = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have replaced the token first.
        let Some(Rotation { every, grace }) = tokens.rotation.filter(|_| tokens.is_due()) else { return };
        match random() {
            Ok(next) => {
                let grace_ends = every.checked_add(grace).and_then(|time| tokens.issued.checked_add(time));
                tokens.replace(next, grace_ends);
            }
            Err(error) => tracing::warn!(%error, "no randomness for a new scoped token: the old one stays"),
        }
    }

    /// Returns the current token, to be handed to its extension alone. It is empty when the extension has ended.
    pub fn expose(&self) -> Zeroizing<String> {
        self.rotate_if_due();
        self.0.read().unwrap_or_else(PoisonError::into_inner).current.clone().unwrap_or_default()
    }

    /// Replaces the current token, and accepts the previous one for `grace` more. `grace` is the time for which a guest
    /// may still use a token that it has read. After [`ScopedTokens::end`] it does nothing.
    ///
    /// # Errors
    /// Fails as [`ScopedTokens::issue`] does. The current token then stays.
    pub fn rotate(&self, grace: Duration) -> Result<(), getrandom::Error> {
        let next = random()?;
        let mut tokens = self.0.write().unwrap_or_else(PoisonError::into_inner);
        tokens.replace(next, Instant::now().checked_add(grace));
        Ok(())
    }

    /// Revokes all tokens, because the extension has ended.
    pub fn end(&self) {
        let mut tokens = self.0.write().unwrap_or_else(PoisonError::into_inner);
        (tokens.current, tokens.previous) = (None, None);
    }

    /// Returns whether a token is one of these. The time of the comparison is independent of the number of right bytes.
    pub fn take(&self, presented: &str) -> bool {
        self.rotate_if_due();
        let tokens = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let same = |token: &str| bool::from(token.as_bytes().ct_eq(presented.as_bytes()));
        let current = tokens.current.as_ref().is_some_and(|token| same(token));
        let previous = tokens
            .previous
            .as_ref()
            .is_some_and(|(token, until)| same(token) && until.is_none_or(|until| Instant::now() < until));
        current | previous
    }
}

impl fmt::Debug for ScopedTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScopedTokens")
    }
}

fn random() -> Result<Zeroizing<String>, getrandom::Error> {
    let mut bytes = Zeroizing::new([0_u8; RANDOM]);
    getrandom::fill(bytes.as_mut_slice())?;
    let digits = Zeroizing::new(hex::encode(bytes.as_slice()));
    Ok(Zeroizing::new([TOKEN_PREFIX, &digits].concat()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_token_is_taken_while_its_extension_runs() {
        let (own, other) = (ScopedTokens::issue().unwrap(), ScopedTokens::issue().unwrap());
        let token = own.expose();
        assert!(own.take(&token) && !other.take(&token));
        for wrong in ["", "attache_", &token[1..], &format!("{} ", *token), &token.to_uppercase()] {
            assert!(!own.take(wrong), "{wrong}");
        }
        own.end();
        assert!(!own.take(&token) && !own.take(""));
        own.rotate(Duration::from_mins(1)).unwrap();
        assert!(own.expose().is_empty() && !own.take(&token) && !own.take(""));
    }

    #[test]
    fn the_one_before_is_taken_for_its_grace() {
        let tokens = ScopedTokens::issue().unwrap();
        let first = tokens.expose();
        tokens.rotate(Duration::from_mins(1)).unwrap();
        let second = tokens.expose();
        assert!(first != second && tokens.take(&first) && tokens.take(&second));
        tokens.rotate(Duration::ZERO).unwrap();
        assert!(!tokens.take(&first) && !tokens.take(&second) && tokens.take(&tokens.expose()));
    }

    #[test]
    fn a_token_is_replaced_when_its_time_is_over_and_not_before() {
        let lasting = ScopedTokens::rotating(Duration::from_hours(1), Duration::ZERO).unwrap();
        assert_eq!(*lasting.expose(), *lasting.expose());
        let brief = ScopedTokens::rotating(Duration::ZERO, Duration::from_hours(1)).unwrap();
        let first = brief.expose();
        assert!(brief.take(&first), "the one before is taken for its grace");
        assert!(*first != *brief.expose());
        brief.end();
        assert!(brief.expose().is_empty() && !brief.take(&first));
        let endless = ScopedTokens::issue().unwrap();
        let first = endless.expose();
        endless.rotate(Duration::MAX).unwrap();
        assert!(endless.take(&first), "a grace that leads past the end of time has no end");
        let forever = ScopedTokens::rotating(Duration::MAX, Duration::MAX).unwrap();
        assert!(forever.take(&forever.expose()));
    }

    #[test]
    fn a_token_never_shows_itself() {
        let tokens = ScopedTokens::issue().unwrap();
        assert!(!format!("{tokens:?}").contains(&**tokens.expose()));
        assert_eq!(tokens.expose().len(), TOKEN_PREFIX.len() + 2 * RANDOM);
    }
}
