//! `attache:pod/api`: the Kubernetes API, within the limits of the grant.
//!
//! Threat: all arguments come from the guest. Parts of a path go through the one builder of requests, and each request
//! through the gate. The client sends only the permit that the gate returns.

use http::Method;
use wasmtime::component::Resource;

use super::bindings::api::{self as wit, Host, HostCollection};
use super::collection::Collection;
use super::ctx::{PodCtx, PodCtxView};
use super::error::ApiError;
use super::watch::Watch;
use crate::cluster::{Answer, ApiClient, ListPage, Payload, ResourceInfo, list_page};
use crate::gate::Channel;
use crate::policy::PathBuilder;

impl PodCtx {
    pub(super) fn cluster(&self) -> Result<&ApiClient, ApiError> {
        self.cluster.as_ref().ok_or_else(|| ApiError::unavailable("this host is not connected to an API server"))
    }

    /// Reads one page. It has fewer objects than the guest asked for where more exceed the grant's limit.
    async fn page(
        &self,
        of: &mut Collection,
        select: &wit::Selector,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<Answer, ApiError> {
        loop {
            let asked = of.page_size(limit);
            match self.read(of.listed(select, asked, cursor)?).await {
                // The smaller size is kept, also for a guest that has to wait for its rate before the next request.
                Err(error) if error.is_too_large() && asked > 1 => of.shrink_pages(asked),
                answered => return answered,
            }
        }
    }

    async fn read(&self, path: PathBuilder) -> Result<Answer, ApiError> {
        let cluster = self.cluster()?;
        let request = path.build(&Method::GET)?;
        let permit = self.gate.admit(Channel::Api, request)?;
        Ok(cluster.fetch(permit, Payload::none()).await?)
    }

    fn opens_somewhere(&self, info: &ResourceInfo) -> bool {
        self.gate.grant().opens(&info.group, &info.plural)
    }
}

impl From<&ResourceInfo> for wit::ResourceInfo {
    fn from(info: &ResourceInfo) -> Self {
        Self {
            of: wit::ResourceType {
                group: info.group.clone(),
                version: info.version.clone(),
                plural: info.plural.clone(),
            },
            kind: info.kind.clone(),
            singular: info.singular.clone(),
            short_names: info.short_names.clone(),
            categories: info.categories.clone(),
            namespaced: info.namespaced,
            verbs: info.verbs.clone(),
            subresources: info.subresources.iter().map(|part| part.name.clone()).collect(),
            preferred: info.preferred,
        }
    }
}

impl From<ListPage> for wit::Page {
    fn from(page: ListPage) -> Self {
        let ListPage { items, cursor, remaining, resource_version } = page;
        Self { items, cursor, remaining, resource_version }
    }
}

impl Host for PodCtxView<'_> {
    fn convert_error(&mut self, error: ApiError) -> wasmtime::Result<wit::Error> {
        match error {
            ApiError::Typed(error) => Ok(error),
            ApiError::Trap(trap) => Err(trap),
        }
    }

    async fn discover(&mut self) -> Result<Vec<wit::ResourceInfo>, ApiError> {
        // The host discovers once for all guests. The guest that causes a discovery pays with its rate.
        self.ctx.gate.spend()?;
        let discovery = self.ctx.cluster()?.discovery().await?;
        Ok(discovery.types().iter().filter(|info| self.ctx.opens_somewhere(info)).map(Into::into).collect())
    }

    async fn resolve(&mut self, name: String) -> Result<wit::ResourceInfo, ApiError> {
        self.ctx.gate.spend()?;
        let info = self.ctx.cluster()?.resolve(&name).await?;
        if self.ctx.opens_somewhere(&info) {
            return Ok((&info).into());
        }
        Err(ApiError::denied(format!("the grant opens no verb on {:?} in group {:?}", info.plural, info.group)))
    }

    async fn can_i(
        &mut self,
        verb: String,
        of: wit::ResourceType,
        namespace: Option<String>,
        name: Option<String>,
    ) -> Result<bool, ApiError> {
        self.ctx.can_i(&verb, &of, namespace, name).await
    }

    fn open(&mut self, of: wit::ResourceType, namespace: Option<String>) -> Result<Resource<Collection>, ApiError> {
        let collection = Collection::new(of, namespace);
        if collection.is_namespaces() && collection.namespace().is_some() {
            return Err(ApiError::invalid("namespaces live in no namespace: open them without one"));
        }
        self.ctx.gate.admit_opening(Channel::Api, &collection.path().build(&Method::GET)?)?;
        Ok(self.table.push(collection)?)
    }
}

impl HostCollection for PodCtxView<'_> {
    async fn get(&mut self, collection: Resource<Collection>, name: String) -> Result<Vec<u8>, ApiError> {
        let path = self.table.get(&collection)?.named(&name);
        Ok(self.ctx.read(path).await?.bytes.into())
    }

    async fn list(
        &mut self,
        collection: Resource<Collection>,
        select: wit::Selector,
        limit: u32,
        cursor: Option<String>,
    ) -> Result<wit::Page, ApiError> {
        let of = self.table.get_mut(&collection)?;
        let answer = self.ctx.page(of, &select, limit, cursor.as_deref()).await?;
        let page = list_page(&answer.bytes);
        page.map(Into::into).map_err(|error| ApiError::unavailable(format!("the API server sent no list: {error}")))
    }

    async fn create(
        &mut self,
        collection: Resource<Collection>,
        object: Vec<u8>,
        options: wit::WriteOptions,
    ) -> Result<Vec<u8>, ApiError> {
        self.ctx.create(self.table.get(&collection)?, object, options).await
    }

    async fn replace(
        &mut self,
        collection: Resource<Collection>,
        name: String,
        object: Vec<u8>,
        options: wit::WriteOptions,
    ) -> Result<Vec<u8>, ApiError> {
        self.ctx.replace(self.table.get(&collection)?, &name, object, options).await
    }

    async fn patch(
        &mut self,
        collection: Resource<Collection>,
        name: String,
        patch: wit::Patch,
        options: wit::WriteOptions,
    ) -> Result<Vec<u8>, ApiError> {
        self.ctx.patch(self.table.get(&collection)?, &name, patch, options).await
    }

    async fn delete(
        &mut self,
        collection: Resource<Collection>,
        name: String,
        how: wit::DeleteOptions,
        options: wit::WriteOptions,
    ) -> Result<(), ApiError> {
        self.ctx.delete(self.table.get(&collection)?, &name, how, options).await
    }

    async fn delete_all(
        &mut self,
        collection: Resource<Collection>,
        select: wit::Selector,
        propagation: wit::Propagation,
        options: wit::WriteOptions,
    ) -> Result<(), ApiError> {
        self.ctx.delete_all(self.table.get(&collection)?, &select, propagation, options).await
    }

    fn subresource(
        &mut self,
        collection: Resource<Collection>,
        name: String,
    ) -> Result<Resource<Collection>, ApiError> {
        let narrowed = self.table.get(&collection)?.narrowed(name);
        // The object's name is not known yet. Any valid name shows whether the rest of the path is valid.
        narrowed.named("x").build(&Method::GET)?;
        Ok(self.table.push(narrowed)?)
    }

    fn watch(&mut self, collection: Resource<Collection>, select: wit::Selector) -> Result<Resource<Watch>, ApiError> {
        let watch = self.ctx.watch(self.table.get(&collection)?, &select)?;
        Ok(self.table.push(watch)?)
    }

    fn drop(&mut self, collection: Resource<Collection>) -> wasmtime::Result<()> {
        self.table.delete(collection)?;
        Ok(())
    }
}
