//! The WIT worlds that extensions are written for.

use std::future::Future;

use wasmtime::StoreContextMut;
use wasmtime::component::InstancePre;
use wasmtime_wasi::p2::bindings::{Command, CommandPre};
#[cfg(feature = "serve")]
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};

use super::state::State;

/// A WIT world, as the bindings that `bindgen!` generates for it: its `…Pre` type, whose stores hold a [`State<D>`].
///
/// [`world!`](crate::world) implements it. The library implements it for [`CommandPre`], the world of a command.
pub trait World<D: 'static>: Clone + Send + Sync + Sized + 'static {
    /// The exports of one instance.
    type Guest: Send + Sync + 'static;

    /// Looks up the world's exports, once for each extension.
    ///
    /// # Errors
    /// Fails if the component does not export them with the types of the world.
    fn new(component: InstancePre<State<D>>) -> wasmtime::Result<Self>;

    /// Creates an instance.
    ///
    /// # Errors
    /// Fails if there is no room for an instance, or if the guest traps while it starts.
    fn instantiate(
        &self,
        store: StoreContextMut<'_, State<D>>,
    ) -> impl Future<Output = wasmtime::Result<Self::Guest>> + Send;
}

impl<D: Send + 'static> World<D> for CommandPre<State<D>> {
    type Guest = Command;

    fn new(component: InstancePre<State<D>>) -> wasmtime::Result<Self> {
        let missing = "the component cannot be run as a command: it does not export wasi:cli/run";
        CommandPre::new(component).map_err(|error| error.context(missing))
    }

    async fn instantiate(&self, store: StoreContextMut<'_, State<D>>) -> wasmtime::Result<Command> {
        self.instantiate_async(store).await
    }
}

#[cfg(feature = "serve")]
impl<D: Send + 'static> World<D> for ProxyPre<State<D>> {
    type Guest = Proxy;

    fn new(component: InstancePre<State<D>>) -> wasmtime::Result<Self> {
        let missing = "the component cannot serve HTTP: it does not export wasi:http/incoming-handler";
        ProxyPre::new(component).map_err(|error| error.context(missing))
    }

    async fn instantiate(&self, store: StoreContextMut<'_, State<D>>) -> wasmtime::Result<Proxy> {
        self.instantiate_async(store).await
    }
}

/// Implements [`World`](crate::extension::World) for the two types that `bindgen!` generates for a world: the exports
/// of an instance, and the `…Pre` type.
///
/// ```
/// mod bindings {
///     attache::wasmtime::component::bindgen!({
///         inline: "
///             package example:greeter;
///             world extension {
///                 export greet: func(who: string) -> string;
///             }
///         ",
///         exports: { default: async },
///         require_store_data_send: true,
///         wasmtime_crate: attache::wasmtime,
///     });
/// }
///
/// attache::world!(bindings::Extension, bindings::ExtensionPre);
/// ```
#[macro_export]
macro_rules! world {
    ($guest:path, $($pre:ident)::+) => {
        impl<D: Send + 'static> $crate::extension::World<D> for $($pre)::+<$crate::extension::State<D>> {
            type Guest = $guest;

            fn new(
                component: $crate::wasmtime::component::InstancePre<$crate::extension::State<D>>,
            ) -> $crate::wasmtime::Result<Self> {
                let missing = "the component does not export what its world exports";
                $($pre)::+::new(component).map_err(|error| error.context(missing))
            }

            async fn instantiate(
                &self,
                store: $crate::wasmtime::StoreContextMut<'_, $crate::extension::State<D>>,
            ) -> $crate::wasmtime::Result<$guest> {
                self.instantiate_async(store).await
            }
        }
    };
}
