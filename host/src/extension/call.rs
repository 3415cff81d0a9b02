//! One call of an extension, in an instance of its own.

use tokio::time::Instant;
use wasmtime::Store;

use super::bounds::{Budget, Failure, Usage};
use super::call_error::CallError;
use super::invocation::Invocation;
use super::load::Extension;
use super::state::State;
use super::world::World;

/// The result of a call, and its cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Completed<R> {
    /// The closure's result.
    pub value: R,
    /// The cost of the call.
    pub usage: Usage,
}

impl<W: World<D>, D: Send + 'static> Extension<W, D> {
    /// Calls the extension once, in a fresh instance. The closure `work` gets the guest's exports and its store.
    ///
    /// The call ends at the grant's deadline or when its CPU time is used up, even while the guest waits in a host
    /// call. Dropping the future ends the call at once. A limit that the guest reached is logged and recorded in the
    /// audit.
    ///
    /// ```no_run
    /// # mod bindings {
    /// #     attache::wasmtime::component::bindgen!({
    /// #         inline: "package example:greeter; world extension { export greet: func(who: string) -> string; }",
    /// #         exports: { default: async },
    /// #         require_store_data_send: true,
    /// #         wasmtime_crate: attache::wasmtime,
    /// #     });
    /// # }
    /// # attache::world!(bindings::Extension, bindings::ExtensionPre);
    /// use attache::extension::{CallError, Extension, State};
    ///
    /// type Greeter = Extension<bindings::ExtensionPre<State>>;
    ///
    /// async fn greet(greeter: &Greeter, name: &str) -> Result<String, CallError> {
    ///     let done = greeter.call((), async |guest, store| guest.call_greet(store, name).await).await?;
    ///     println!("{:?} of CPU time", done.usage.cpu);
    ///     Ok(done.value)
    /// }
    /// ```
    ///
    /// # Errors
    /// Fails with the limit or trap that ended the call. An error that `work` returns is [`CallError::Trap`].
    pub async fn call<R, F>(&self, data: D, work: F) -> Result<Completed<R>, CallError>
    where
        F: AsyncFnOnce(&W::Guest, &mut Store<State<D>>) -> wasmtime::Result<R>,
    {
        self.call_with(Invocation::new(), data, work).await
    }

    /// Calls the extension as [`Extension::call`] does, with arguments and streams.
    ///
    /// # Errors
    /// Fails like [`Extension::call`].
    pub async fn call_with<R, F>(&self, invocation: Invocation, data: D, work: F) -> Result<Completed<R>, CallError>
    where
        F: AsyncFnOnce(&W::Guest, &mut Store<State<D>>) -> wasmtime::Result<R>,
    {
        let begun = Instant::now();
        let instance = self.bounds.instance(invocation, data)?;
        let step = async |store: &mut Store<State<D>>| {
            let guest = self.world.instantiate(wasmtime::AsContextMut::as_context_mut(store)).await;
            let guest = guest.map_err(Failure::Instantiate)?;
            work(&guest, store).await.map_err(Failure::Work)
        };
        let (value, usage, _instance) = self.bounds.drive(instance, begun, Budget::Call, step).await?;
        Ok(Completed { value, usage })
    }
}
