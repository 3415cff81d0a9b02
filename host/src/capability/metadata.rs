//! `attache:pod/metadata`: the granted part of the Downward API.

use wasmtime::component::Resource;
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use super::bindings::metadata::{self as wit, Host, HostChanges};
use super::ctx::PodCtxView;
use super::error::MetadataError;
use crate::podinfo::{Changes, Identity, PodInfoError, ProjectedFile, ResourceField, Snapshot};

impl From<PodInfoError> for MetadataError {
    fn from(error: PodInfoError) -> Self {
        Self::Typed(match &error {
            PodInfoError::Malformed { fault, .. } => wit::Error::Malformed(format!("{error}: {fault}")),
            // The source of the error names paths of the host.
            PodInfoError::Unreadable(_) => wit::Error::Unreadable(error.to_string()),
        })
    }
}

impl From<Identity> for wit::Identity {
    fn from(identity: Identity) -> Self {
        Self {
            name: identity.name,
            namespace: identity.namespace,
            uid: identity.uid,
            service_account: identity.service_account,
            node_name: identity.node_name,
            pod_ips: identity.pod_ips,
            host_ips: identity.host_ips,
        }
    }
}

impl From<&Snapshot> for wit::Snapshot {
    fn from(snapshot: &Snapshot) -> Self {
        Self { revision: snapshot.revision, labels: snapshot.labels.clone(), annotations: snapshot.annotations.clone() }
    }
}

impl From<ProjectedFile> for wit::File {
    fn from(file: ProjectedFile) -> Self {
        Self { path: file.path, mode: file.mode }
    }
}

impl From<wit::ResourceField> for ResourceField {
    fn from(field: wit::ResourceField) -> Self {
        match field {
            wit::ResourceField::CpuRequest => Self::CpuRequest,
            wit::ResourceField::CpuLimit => Self::CpuLimit,
            wit::ResourceField::MemoryRequest => Self::MemoryRequest,
            wit::ResourceField::MemoryLimit => Self::MemoryLimit,
            wit::ResourceField::EphemeralStorageRequest => Self::EphemeralStorageRequest,
            wit::ResourceField::EphemeralStorageLimit => Self::EphemeralStorageLimit,
            wit::ResourceField::HugepagesRequest(size) => Self::HugepagesRequest(size),
            wit::ResourceField::HugepagesLimit(size) => Self::HugepagesLimit(size),
        }
    }
}

impl Host for PodCtxView<'_> {
    fn convert_error(&mut self, error: MetadataError) -> wasmtime::Result<wit::Error> {
        match error {
            MetadataError::Typed(error) => Ok(error),
            MetadataError::Trap(trap) => Err(trap),
        }
    }

    fn get_identity(&mut self) -> Result<wit::Identity, MetadataError> {
        Ok(self.ctx.pod.identity()?.into())
    }

    fn get_snapshot(&mut self) -> Result<wit::Snapshot, MetadataError> {
        Ok(self.ctx.pod.snapshot()?.as_ref().into())
    }

    fn get_label(&mut self, key: String) -> Result<Option<String>, MetadataError> {
        Ok(self.ctx.pod.label(&key)?)
    }

    fn get_annotation(&mut self, key: String) -> Result<Option<String>, MetadataError> {
        Ok(self.ctx.pod.annotation(&key)?)
    }

    fn get_resource_bound(
        &mut self,
        container: String,
        field: wit::ResourceField,
    ) -> Result<Option<u64>, MetadataError> {
        Ok(self.ctx.pod.resource_bound(&container, &field.into())?)
    }

    fn get_files(&mut self) -> Result<Vec<wit::File>, MetadataError> {
        Ok(self.ctx.pod.files()?.into_iter().map(Into::into).collect())
    }

    fn follow(&mut self) -> wasmtime::Result<Resource<Changes>> {
        Ok(self.table.push(self.ctx.pod.follow())?)
    }
}

impl HostChanges for PodCtxView<'_> {
    fn next(&mut self, changes: Resource<Changes>) -> Result<Option<wit::Snapshot>, MetadataError> {
        let changes = self.table.get_mut(&changes)?;
        Ok(changes.next()?.map(|snapshot| snapshot.as_ref().into()))
    }

    fn subscribe(&mut self, changes: Resource<Changes>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, changes)
    }

    fn drop(&mut self, changes: Resource<Changes>) -> wasmtime::Result<()> {
        self.table.delete(changes)?;
        Ok(())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Changes {
    async fn ready(&mut self) {
        self.changed().await;
    }
}
