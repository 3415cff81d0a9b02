//! The handle that keeps extensions, and its builder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, broadcast, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::definition::Definition;
use super::http::Router;
use super::runner::{Prepare, Runner};
use super::schedule::Schedule;
use super::status::{Reporter, State, Status, Transition};
use super::version::{ServiceError, Version};
use crate::extension::{Invocation, Runtime};
use crate::policy::Trigger;

/// The number of transitions that a listener may be behind. The listener misses older ones.
const TRANSITIONS: usize = 1024;

/// The lookup of the variables that grants name as `$(NAME)`.
type Variable = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The builder of a [`Supervisor`].
///
/// ```
/// use attache::extension::Runtime;
/// use attache::service::Supervisor;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let supervisor = Supervisor::builder(Runtime::builder().build()?)
///     .variables(|name| std::env::var(name).ok())
///     .prepare(|invocation, _extension| invocation.inherit_output())
///     .stop_grace(Duration::from_secs(10))
///     .build();
/// assert!(supervisor.statuses().is_empty());
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct SupervisorBuilder {
    runtime: Runtime,
    variable: Variable,
    prepare: Prepare,
    stop_grace: Duration,
}

impl SupervisorBuilder {
    /// Sets the lookup of the variables that grants name as `$(NAME)`. Without a lookup, no variable has a value.
    pub fn variables(mut self, variable: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        self.variable = Arc::new(variable);
        self
    }

    /// Sets the function that completes the invocation of each call, for example with its streams. `prepare` gets the
    /// invocation and the extension's name. Without it, the output of guests is discarded.
    pub fn prepare(mut self, prepare: impl Fn(Invocation, &str) -> Invocation + Send + Sync + 'static) -> Self {
        self.prepare = Arc::new(prepare);
        self
    }

    /// Sets the time that a command has to end after it was asked to stop. The default is five seconds.
    pub fn stop_grace(mut self, grace: Duration) -> Self {
        self.stop_grace = grace;
        self
    }

    /// Returns the supervisor.
    pub fn build(self) -> Supervisor {
        let Self { runtime, variable, prepare, stop_grace } = self;
        let (transitions, _) = broadcast::channel(TRANSITIONS);
        let router = Router::new();
        let inner = Inner {
            runtime,
            variable,
            prepare,
            stop_grace,
            transitions,
            router,
            stop: CancellationToken::new(),
            services: Mutex::default(),
            failures: Mutex::default(),
            changing: AsyncMutex::default(),
        };
        Supervisor { inner: Arc::new(inner) }
    }
}

/// A handle that keeps extensions. Clones are cheap and share the extensions, which stop when the last clone is
/// dropped.
#[derive(Clone)]
pub struct Supervisor {
    inner: Arc<Inner>,
}

struct Inner {
    runtime: Runtime,
    variable: Variable,
    prepare: Prepare,
    stop_grace: Duration,
    transitions: broadcast::Sender<Transition>,
    router: Router,
    stop: CancellationToken,
    services: Mutex<BTreeMap<String, Service>>,
    /// Manifests that could not be loaded, by their files.
    failures: Mutex<BTreeMap<PathBuf, Status>>,
    /// Locked while an extension is changed, so that two changes of the same extension do not mix.
    changing: AsyncMutex<()>,
}

/// One extension of the supervisor.
struct Service {
    versions: watch::Sender<Arc<Version>>,
    reporter: Reporter,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervisor").field("services", &self.inner.services().len()).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Inner {
    fn services(&self) -> MutexGuard<'_, BTreeMap<String, Service>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn failures(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Status>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Supervisor {
    /// Returns a supervisor with the defaults of its [builder](Supervisor::builder).
    pub fn new(runtime: Runtime) -> Self {
        Self::builder(runtime).build()
    }

    /// Returns the builder of a supervisor whose extensions run in `runtime`.
    pub fn builder(runtime: Runtime) -> SupervisorBuilder {
        SupervisorBuilder {
            runtime,
            variable: Arc::new(|_| None),
            prepare: Arc::new(|invocation, _| invocation),
            stop_grace: Duration::from_secs(5),
        }
    }

    /// Loads a definition and drops it again, to find most errors that [`Supervisor::apply`] would return.
    ///
    /// Errors of an address or a certificate, such as [`ServiceError::Listen`], are found only by `apply`.
    ///
    /// # Errors
    /// Fails if the definition cannot be loaded.
    pub async fn check(&self, definition: Definition) -> Result<(), ServiceError> {
        self.load(definition).await.map(drop)
    }

    async fn load(&self, definition: Definition) -> Result<Arc<Version>, ServiceError> {
        if let Trigger::Schedule(trigger) = &definition.manifest.trigger {
            Schedule::parse(trigger)?;
        }
        let version = Version::load(&self.inner.runtime, definition, &*self.inner.variable).await?;
        Ok(Arc::new(version))
    }

    /// Adds an extension, or replaces the extension with the same name. Calls in progress end on the version that they
    /// began on.
    ///
    /// # Errors
    /// Fails if the new version cannot be loaded or cannot be served. If it cannot be loaded, the previous version, if
    /// any, stays, and its [`Status::reload_error`] has the error as well.
    pub async fn apply(&self, definition: Definition) -> Result<(), ServiceError> {
        let _changing = self.inner.changing.lock().await;
        if self.inner.stop.is_cancelled() {
            return Err(ServiceError::Stopping);
        }
        let name = definition.manifest.name.clone();
        let applied = self.replace(definition).await;
        if let Some(service) = self.inner.services().get(&name) {
            let error = applied.as_ref().err().map(|error| crate::telemetry::chain(error).to_string());
            service.reporter.update(|status| status.reload_error = error);
        }
        applied
    }

    async fn replace(&self, definition: Definition) -> Result<(), ServiceError> {
        let version = self.load(definition).await?;
        let manifest = &version.definition.manifest;
        let (name, trigger) = (manifest.name.clone(), manifest.trigger.name());
        let same_trigger = {
            let services = self.inner.services();
            services.get(&name).is_some_and(|service| service.reporter.status().trigger == trigger)
        };
        let reporter = match self.inner.services().get(&name) {
            Some(service) if same_trigger => service.reporter.clone(),
            _ => Reporter::new(&name, trigger, self.inner.transitions.clone()),
        };
        // The new version's address is open before anything of the old version ends.
        self.inner.router.route(&version, &reporter, &self.inner.prepare).await?;
        if !same_trigger {
            if !matches!(manifest.trigger, Trigger::Http(_)) {
                self.inner.router.forget(&name);
            }
            self.end(&name, "another trigger takes its place").await;
        }
        reporter.update(|status| {
            status.component_sha256.clone_from(&version.component_sha256);
            status.grant_sha256.clone_from(&version.grant_sha256);
        });
        let mut services = self.inner.services();
        if let Some(service) = services.get(&name) {
            service.versions.send_replace(version);
            service.reporter.count(|counts| counts.reloads += 1);
            tracing::info!(extension = name, "a new version took over");
        } else {
            let service = self.start(version, reporter);
            services.insert(name, service);
        }
        Ok(())
    }

    fn start(&self, version: Arc<Version>, reporter: Reporter) -> Service {
        let (versions, newest) = watch::channel(version);
        let stop = self.inner.stop.child_token();
        let runner = Runner {
            newest,
            reporter: reporter.clone(),
            prepare: Arc::clone(&self.inner.prepare),
            stop: stop.clone(),
            stop_grace: self.inner.stop_grace,
        };
        Service { versions, reporter, stop, task: tokio::spawn(runner.keep()) }
    }

    /// Removes an extension. The extension gets no more calls, and its calls in progress may finish. Returns whether
    /// there was an extension with this name.
    pub async fn remove(&self, name: &str) -> bool {
        let _changing = self.inner.changing.lock().await;
        self.stop_one(name).await
    }

    async fn stop_one(&self, name: &str) -> bool {
        self.inner.router.forget(name);
        self.end(name, "it is removed").await
    }

    async fn end(&self, name: &str, why: &str) -> bool {
        let Some(service) = self.inner.services().remove(name) else { return false };
        service.reporter.enter(State::Draining, why);
        service.stop.cancel();
        // A command ends within its grace, and a scheduled call within its deadline.
        let _ = service.task.await;
        service.reporter.enter(State::Stopped, why);
        true
    }

    /// Returns the status of each extension in the order of their names, then the status of each manifest that could
    /// not be loaded.
    pub fn statuses(&self) -> Vec<Status> {
        let services = self.inner.services();
        let failures = self.inner.failures();
        services.values().map(|service| service.reporter.status()).chain(failures.values().cloned()).collect()
    }

    /// Records the result of applying a manifest's file.
    pub(super) fn report(&self, path: &Path, name: &str, error: Option<&ServiceError>) {
        let Some(error) = error else { return self.forget_failure(path) };
        let error = crate::telemetry::chain(error).to_string();
        if let Some(service) = self.inner.services().get(name) {
            service.reporter.update(|status| status.reload_error = Some(error));
            return;
        }
        let shown = if name.is_empty() { path.display().to_string() } else { name.to_owned() };
        let reporter = Reporter::new(&shown, "none", self.inner.transitions.clone());
        reporter.enter(State::Failed, error);
        self.inner.failures().insert(path.to_owned(), reporter.status());
    }

    /// Removes the failure that was recorded for a manifest's file.
    pub(super) fn forget_failure(&self, path: &Path) {
        self.inner.failures().remove(path);
    }

    /// Returns whether [`Supervisor::drain`] was called.
    pub fn is_stopping(&self) -> bool {
        self.inner.stop.is_cancelled()
    }

    /// Returns a channel with each change of an extension's state from now on. A listener that is more than 1,024
    /// changes behind misses the oldest.
    pub fn transitions(&self) -> broadcast::Receiver<Transition> {
        self.inner.transitions.subscribe()
    }

    /// Stops all extensions. No extension gets a new call, and calls in progress may finish within `grace`. Returns
    /// whether all calls finished in time.
    pub async fn drain(&self, grace: Duration) -> bool {
        self.inner.stop.cancel();
        let _changing = self.inner.changing.lock().await;
        let services = std::mem::take(&mut *self.inner.services());
        let mut tasks = Vec::new();
        for service in services.into_values() {
            service.reporter.enter(State::Draining, "the host stops");
            tasks.push((service.task, service.reporter));
        }
        let all = async {
            self.inner.router.drain().await;
            for (task, reporter) in &mut tasks {
                let _ = task.await;
                reporter.enter(State::Stopped, "the host stops");
            }
        };
        let drained = timeout(grace, all).await.is_ok();
        tasks.iter().for_each(|(task, _)| task.abort());
        drained
    }
}
