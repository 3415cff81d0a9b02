//! The instances that serve requests: a new instance for each request, or sessions that are reused.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::sleep;
use wasmtime::Store;
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};

use super::runner::Prepare;
use super::status::Reporter;
use super::version::{Called, Version};
use crate::extension::{CallError, Completed, Extension, Session, SessionSettings, State};
use crate::policy::InstanceReuse;

type HttpExtension = Extension<ProxyPre<State>>;
type HttpSession = Session<ProxyPre<State>, ()>;

/// The instances of one version.
pub(super) struct Pool {
    pub(super) version: Arc<Version>,
    pub(super) reporter: Reporter,
    prepare: Prepare,
    reuse: InstanceReuse,
    /// Sessions without a request, the last used at the end.
    idle: Mutex<Vec<HttpSession>>,
    /// True while a task drops idle sessions. Changed only while `idle` is locked.
    sweeping: Mutex<bool>,
}

impl Pool {
    pub(super) fn new(version: Arc<Version>, reporter: Reporter, prepare: Prepare) -> Self {
        let reuse = version.definition.manifest.instance;
        Self { version, reporter, prepare, reuse, idle: Mutex::default(), sweeping: Mutex::default() }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<HttpSession>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the extension if it has the HTTP trigger.
    pub(super) fn extension(&self) -> Option<&HttpExtension> {
        match &self.version.called {
            Called::Http(extension) => Some(extension),
            Called::Command(_) => None,
        }
    }

    /// Runs `work` in an instance.
    pub(super) async fn call<R, F>(
        self: &Arc<Self>,
        extension: &HttpExtension,
        work: F,
    ) -> Result<Completed<R>, CallError>
    where
        F: AsyncFnOnce(&Proxy, &mut Store<State>) -> wasmtime::Result<R>,
    {
        let invocation = || (self.prepare)(self.version.invocation(&[]), extension.name());
        if self.reuse.calls <= 1 {
            return extension.call_with(invocation(), (), work).await;
        }
        let mut session = if let Some(session) = self.take() {
            session
        } else {
            let settings = SessionSettings::new().calls(self.reuse.calls).idle(self.reuse.idle);
            extension.session_with(settings, invocation(), ()).await?
        };
        let called = session.call(work).await;
        if session.end().is_none() {
            self.put_back(session);
        }
        called
    }

    /// Takes the session that was used last. Drops sessions that have ended.
    fn take(&self) -> Option<HttpSession> {
        let mut idle = self.idle();
        while let Some(mut session) = idle.pop() {
            if session.end().is_none() {
                return Some(session);
            }
        }
        None
    }

    /// Keeps a session for the next request. Starts the task that drops idle sessions, if it does not run.
    fn put_back(self: &Arc<Self>, session: HttpSession) {
        let mut idle = self.idle();
        idle.push(session);
        if !std::mem::replace(&mut *self.sweeping.lock().unwrap_or_else(PoisonError::into_inner), true) {
            let (pool, pause) = (Arc::downgrade(self), self.reuse.idle);
            tokio::spawn(async move {
                loop {
                    sleep(pause).await;
                    match pool.upgrade() {
                        Some(pool) if pool.sweep() => {}
                        _ => return,
                    }
                }
            });
        }
    }

    /// Drops sessions that have reached their idle time. Returns whether there are others.
    fn sweep(&self) -> bool {
        let mut idle = self.idle();
        let kept = idle.iter_mut().position(|session| session.end().is_none()).unwrap_or(idle.len());
        let over: Vec<_> = idle.drain(..kept).collect();
        let more = !idle.is_empty();
        *self.sweeping.lock().unwrap_or_else(PoisonError::into_inner) = more;
        drop(idle);
        drop(over);
        more
    }
}
