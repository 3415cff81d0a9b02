//! `attache:pod/api`: follows a collection, and reads the host's copy of it.
//!
//! Threat: a guest that sees more through a shared watch than its grant opens. The gate judges the guest's own
//! collection and selection, for `list` and for `watch`, before the guest becomes a follower. The permit names what is
//! followed, and is held for as long as the watch.

use std::sync::Arc;

use attache_base::untrusted::word;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use super::bindings::api::{self as wit, HostWatch};
use super::collection::{Collection, page_size};
use super::ctx::{PodCtx, PodCtxView};
use super::error::ApiError;
use crate::cluster::Unavailable;
use crate::cluster::watch::{Follower, Scope, StorePage, WatchError, WatchEvent, WatchedObject};
use crate::gate::Channel;

/// The largest number of events that one call returns.
const MAX_EVENTS: u32 = 1024;

/// One guest's watch of a collection.
#[derive(Debug)]
pub struct Watch {
    follower: Follower,
    /// The collection's own namespace.
    namespace: Option<String>,
}

impl PodCtx {
    pub(super) fn watch(&self, of: &Collection, select: &wit::Selector) -> Result<Watch, ApiError> {
        let cluster = self.cluster()?;
        let scope = Scope::of(of.selected(select)?)?;
        let permit = self.gate().admit_follower(Channel::Api, scope.list(), scope.watch().clone())?;
        let follower = cluster.follow(&scope, permit)?;
        Ok(Watch { follower, namespace: of.namespace().map(str::to_owned) })
    }
}

impl HostWatch for PodCtxView<'_> {
    fn read(&mut self, watch: Resource<Watch>, max: u32) -> Result<Vec<wit::WatchEvent>, ApiError> {
        let most = usize::try_from(max.min(MAX_EVENTS)).unwrap_or_default();
        let told = self.table.get_mut(&watch)?.follower.read(most)?;
        Ok(told.iter().map(Into::into).collect())
    }

    fn subscribe(&mut self, watch: Resource<Watch>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, watch)
    }

    async fn get(
        &mut self,
        watch: Resource<Watch>,
        namespace: Option<String>,
        name: String,
    ) -> Result<Vec<u8>, ApiError> {
        let Watch { follower, namespace: own } = self.table.get_mut(&watch)?;
        follower.filled().await?;
        let found = follower.get(namespace.as_deref().or(own.as_deref()), &name)?;
        found.map(|object| object.json().to_vec()).ok_or_else(|| not_found(&name))
    }

    async fn list(
        &mut self,
        watch: Resource<Watch>,
        limit: u32,
        cursor: Option<String>,
    ) -> Result<wit::Page, ApiError> {
        let follower = &mut self.table.get_mut(&watch)?.follower;
        follower.filled().await?;
        let most = usize::try_from(page_size(limit)).unwrap_or_default();
        Ok(follower.list(cursor.as_deref(), most)?.into())
    }

    fn drop(&mut self, watch: Resource<Watch>) -> wasmtime::Result<()> {
        self.table.delete(watch)?;
        Ok(())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Watch {
    async fn ready(&mut self) {
        self.follower.changed().await;
    }
}

impl From<&WatchEvent> for wit::WatchEvent {
    fn from(told: &WatchEvent) -> Self {
        let json = |object: &Arc<WatchedObject>| object.json().to_vec();
        match told {
            WatchEvent::Resync => Self::Resync,
            WatchEvent::Synced => Self::Synced,
            WatchEvent::Applied(object) => Self::Applied(json(object)),
            WatchEvent::Deleted(object) => Self::Deleted(json(object)),
        }
    }
}

impl From<StorePage> for wit::Page {
    fn from(copies: StorePage) -> Self {
        Self {
            items: copies.objects.iter().map(|object| object.json().to_vec()).collect(),
            cursor: copies.cursor,
            remaining: None,
            resource_version: copies.version,
        }
    }
}

impl From<WatchError> for ApiError {
    fn from(error: WatchError) -> Self {
        match error {
            WatchError::Refused(status) => Self::Typed(wit::Error::Refused((*status).into())),
            // The first limit is the grant's, the second the host's.
            WatchError::TooLarge(limit) | WatchError::Overflow(limit) => Self::Typed(wit::Error::TooLarge(limit)),
            WatchError::Invalid(_) => Self::invalid(error.to_string()),
            // The reason is for the operator, and was logged when the watch ended.
            WatchError::Unavailable(why) => Self::unavailable(Unavailable::guest_text(&why)),
            WatchError::Unreadable(_) | WatchError::TooMany(_) | WatchError::Stopped => {
                Self::unavailable(error.to_string())
            }
        }
    }
}

fn not_found(name: &str) -> ApiError {
    ApiError::Typed(wit::Error::Refused(wit::Status {
        code: 404,
        reason: "NotFound".to_owned(),
        message: format!("\"{}\" is not in the host's copy", word(name)),
        body: None,
    }))
}
