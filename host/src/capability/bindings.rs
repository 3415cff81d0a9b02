//! The generated bindings of the package `attache:pod`: the only place where `bindgen!` is run.

#[expect(missing_docs, reason = "bindgen-generated code")]
#[allow(clippy::pedantic, reason = "bindgen-generated code")]
mod generated {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "attache:pod/imports",
        imports: {
            "attache:pod/api.discover": async | trappable,
            "attache:pod/api.resolve": async | trappable,
            "attache:pod/api.can-i": async | trappable,
            "attache:pod/api.[method]collection.create": async | trappable,
            "attache:pod/api.[method]collection.delete": async | trappable,
            "attache:pod/api.[method]collection.delete-all": async | trappable,
            "attache:pod/api.[method]collection.patch": async | trappable,
            "attache:pod/api.[method]collection.replace": async | trappable,
            "attache:pod/api.[method]collection.get": async | trappable,
            "attache:pod/api.[method]collection.list": async | trappable,
            "attache:pod/api.[method]watch.get": async | trappable,
            "attache:pod/api.[method]watch.list": async | trappable,
            default: trappable,
        },
        require_store_data_send: true,
        with: {
            "wasi:io": wasmtime_wasi::p2::bindings::io,
            "wasi:clocks": wasmtime_wasi::p2::bindings::clocks,
            "wasi:http": wasmtime_wasi_http::p2::bindings::http,
            "attache:pod/api.collection": crate::capability::Collection,
            "attache:pod/api.watch": crate::capability::Watch,
            "attache:pod/metadata.changes": crate::podinfo::Changes,
        },
        trappable_error_type: {
            "attache:pod/api.error" => crate::capability::ApiError,
            "attache:pod/metadata.error" => crate::capability::MetadataError,
        },
    });
}

#[allow(clippy::pedantic, reason = "bindgen-generated code")]
mod wasi {
    wasmtime::component::bindgen!({
        path: "wit",
        inline: "package attache:host; world files { import wasi:filesystem/preopens@0.2.12; }",
        world: "attache:host/files",
        require_store_data_send: true,
        imports: { default: trappable },
        with: {
            "wasi:io": wasmtime_wasi::p2::bindings::io,
            "wasi:clocks": wasmtime_wasi::p2::bindings::clocks,
            "wasi:filesystem/types.descriptor": crate::capability::filesystem::Descriptor,
            "wasi:filesystem/types.directory-entry-stream": crate::capability::filesystem::Listing,
        },
        trappable_error_type: {
            "wasi:filesystem/types.error-code" => crate::capability::filesystem::FilesystemError,
        },
    });
}

pub use self::generated::attache::pod::{api, metadata};
pub(super) use self::wasi::wasi::filesystem::{preopens, types as filesystem};
