//! Sessions: one instance of an extension that serves several calls, one after another.
//!
//! Threat: state that crosses calls. Each call finds what earlier calls left in the guest, so a session is for calls
//! that may know of each other. An extension has a session only if its embedder asks for one. Memory and handles are
//! bounded for the instance, deadline and CPU time for each call.

use std::time::Duration;

use tokio::time::Instant;
use wasmtime::Store;

use super::bounds::{Budget, Failure, Instance};
use super::call::Completed;
use super::call_error::CallError;
use super::invocation::Invocation;
use super::load::Extension;
use super::state::State;
use super::world::World;

/// The bounds on the further use of an instance.
///
/// ```
/// use attache::extension::SessionSettings;
/// use std::time::Duration;
///
/// let settings = SessionSettings::new().calls(1000).idle(Duration::from_mins(5));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionSettings {
    calls: u64,
    idle: Duration,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self { calls: 128, idle: Duration::from_secs(30) }
    }
}

impl SessionSettings {
    /// Returns settings for 128 calls, with pauses of at most 30 seconds.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the number of calls after which the session is over.
    #[must_use]
    pub fn calls(mut self, calls: u64) -> Self {
        self.calls = calls;
        self
    }

    /// Sets the pause after which no further call is served.
    #[must_use]
    pub fn idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }
}

/// The reason for the end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionEnd {
    /// An earlier call failed: by a trap, at a limit, or because its future was dropped.
    Failed,
    /// The session has served as many calls as its settings allow.
    Calls,
    /// The session was idle for longer than its settings allow.
    Idle,
}

impl std::fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Failed => "an earlier call of it failed",
            Self::Calls => "it has served all its calls",
            Self::Idle => "it was idle for too long",
        })
    }
}

/// One instance of an extension that serves several calls, one after another.
///
/// The session occupies one of the grant's `instances` until it is over or dropped. No timer ends an idle session: it
/// is over when [`Session::end`] or [`Session::call`] finds that it was idle for too long. Between calls no code of the
/// guest runs, so a timer, a watch or a stream that the guest keeps costs only the memory that it holds.
pub struct Session<W: World<D>, D: Send + 'static> {
    extension: Extension<W, D>,
    live: Result<(Instance<D>, W::Guest), SessionEnd>,
    settings: SessionSettings,
    calls: u64,
    since: Instant,
}

impl<W: World<D>, D: Send + 'static> std::fmt::Debug for Session<W, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let extension = self.extension.name();
        f.debug_struct("Session").field("extension", &extension).field("calls", &self.calls).finish_non_exhaustive()
    }
}

impl<W: World<D>, D: Send + 'static> Extension<W, D> {
    /// Starts a session with the default settings. Its instance is created now, within the limits of a call.
    ///
    /// # Errors
    /// Fails like [`Extension::call`].
    pub async fn session(&self, data: D) -> Result<Session<W, D>, CallError> {
        self.session_with(SessionSettings::new(), Invocation::new(), data).await
    }

    /// Starts a session with settings, arguments and streams.
    ///
    /// # Errors
    /// Fails like [`Extension::call`].
    pub async fn session_with(
        &self,
        settings: SessionSettings,
        invocation: Invocation,
        data: D,
    ) -> Result<Session<W, D>, CallError> {
        let begun = Instant::now();
        let instance = self.bounds.instance(invocation, data)?;
        let step = async |store: &mut Store<State<D>>| {
            let guest = self.world.instantiate(wasmtime::AsContextMut::as_context_mut(store)).await;
            guest.map_err(Failure::Instantiate)
        };
        let (guest, _usage, instance) = self.bounds.drive(instance, begun, Budget::Call, step).await?;
        let extension = self.clone();
        Ok(Session { extension, live: Ok((instance, guest)), settings, calls: 0, since: Instant::now() })
    }
}

impl<W: World<D>, D: Send + 'static> Session<W, D> {
    /// Calls the session's instance. The closure `work` gets the guest's exports and its store.
    ///
    /// The deadline and the CPU time of the grant apply to this call alone. A call that fails, or whose future is
    /// dropped, ends the session.
    ///
    /// # Errors
    /// Fails like [`Extension::call`], and with [`CallError::SessionOver`] if the session serves no further calls.
    pub async fn call<R, F>(&mut self, work: F) -> Result<Completed<R>, CallError>
    where
        F: AsyncFnOnce(&W::Guest, &mut Store<State<D>>) -> wasmtime::Result<R>,
    {
        let begun = Instant::now();
        self.extension.bounds.check_runtime()?;
        self.end();
        // Only a call that succeeds puts the instance back.
        let (instance, guest) = match std::mem::replace(&mut self.live, Err(SessionEnd::Failed)) {
            Ok(live) => live,
            Err(end) => {
                self.live = Err(end);
                return Err(CallError::SessionOver(end));
            }
        };
        let step = async |store: &mut Store<State<D>>| work(&guest, store).await.map_err(Failure::Work);
        let (value, usage, instance) = self.extension.bounds.drive(instance, begun, Budget::Call, step).await?;
        self.calls += 1;
        self.since = Instant::now();
        self.live = if self.calls < self.settings.calls { Ok((instance, guest)) } else { Err(SessionEnd::Calls) };
        Ok(Completed { value, usage })
    }

    /// Returns the reason for which no further call is served, or `None` if there is none. An instance that has been
    /// idle for too long is dropped here, or by the next call.
    pub fn end(&mut self) -> Option<SessionEnd> {
        let end = match &self.live {
            Err(end) => *end,
            Ok(_) if self.calls >= self.settings.calls => SessionEnd::Calls,
            Ok(_) if self.since.elapsed() > self.settings.idle => SessionEnd::Idle,
            Ok(_) => return None,
        };
        self.live = Err(end);
        Some(end)
    }

    /// Returns the number of served calls.
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// Returns the embedder's data, unless the session is over.
    pub fn data_mut(&mut self) -> Option<&mut D> {
        self.live.as_mut().ok().map(|(instance, _)| instance.store.data_mut().data_mut())
    }
}
