//! Interfaces of the embedder's own, and what is checked before a guest of its world runs.

use attache::extension::{LoadError, RuntimeBuilder, RuntimeError};
use attache::wasmtime;
use attache_tests::guest;

use super::{Embedded, Pre, SERVICE, Service, answer, bare, grant, host, load_by, offering, within, work};

#[tokio::test]
async fn an_interface_that_is_not_offered_is_refused_by_its_name() {
    for host in [bare(), offering(bare(), "example:embedded/other"), offering(bare(), "example:embedded")] {
        let refused = load_by(&host.build().unwrap(), within("{}")).await.unwrap_err();
        let LoadError::MissingGrant(lacks) = &refused else { panic!("{refused:?}") };
        assert_eq!(lacks, &["imports example:embedded/service@1.2.0, which this host does not have"]);
    }
}

#[tokio::test]
async fn an_interface_is_offered_for_one_version_or_for_all() {
    for name in [SERVICE, "example:embedded/service@1.2.0"] {
        let extension = load_by(&offering(bare(), name).build().unwrap(), within("{}")).await.unwrap();
        assert_eq!(answer(work(&extension, "seen it").await), "1", "{name}");
    }
    for name in ["example:embedded/service@1.2.1", "example:embedded/service@", "Example:embedded/service"] {
        let refused = load_by(&offering(bare(), name).build().unwrap(), within("{}")).await.unwrap_err();
        assert!(matches!(refused, LoadError::MissingGrant(_)), "{name}: {refused:?}");
    }
}

#[tokio::test]
async fn what_is_the_hosts_own_to_offer_cannot_be_offered() {
    for name in ["wasi:keyvalue/store", "wasi:http/types@0.2.12", "attache:pod/api", "attache:pod/secrets@9.0.0"] {
        let refused = bare().offer(name, |_| Ok(())).build().unwrap_err();
        assert!(matches!(&refused, RuntimeError::Offered { name: of, .. } if of == name), "{refused:?}");
    }
}

#[tokio::test]
async fn an_offer_that_cannot_be_linked_is_an_error() {
    let failing = bare().offer(SERVICE, |_| Err(wasmtime::Error::msg("the service is closed")));
    assert!(matches!(failing.build(), Err(RuntimeError::Link(_))));
    assert!(matches!(offering(host(), "example:embedded/service@1.2.0").build(), Err(RuntimeError::Link(_))), "twice");
    // Offered, and not in the linker.
    let empty = bare().offer(SERVICE, |_| Ok(())).build().unwrap();
    let refused = load_by(&empty, within("{}")).await.unwrap_err();
    assert!(matches!(refused, LoadError::Link(_)), "{refused:?}");
}

#[tokio::test]
async fn a_component_of_another_world_is_refused() {
    let refused: Result<Embedded, _> =
        host().build().unwrap().load_file(&guest("cat-labels"), grant("{podinfo: {}}")).await;
    let refused = refused.unwrap_err();
    assert!(matches!(refused, LoadError::OtherWorld { .. }), "{refused:?}");
    assert!(refused.to_string().contains("does not export what its world exports"), "{refused}");
}

#[tokio::test]
async fn what_the_grant_does_not_open_is_refused_in_any_world() {
    let refused = load_by(&host().build().unwrap(), grant("{env: [COLOUR]}")).await.unwrap_err();
    let LoadError::MissingGrant(lacks) = &refused else { panic!("{refused:?}") };
    assert!(lacks.len() == 1 && lacks[0].contains("attache:pod/api"), "{lacks:?}");
}

#[tokio::test]
async fn another_file_than_the_pinned_one_is_refused_in_any_world() {
    let spec = |pin: &str| format!("{{component: {{sha256: '{pin}'}}, env: [COLOUR], api: [{}]}}", super::PODS);
    let runtime = host().build().unwrap();
    let refused = load_by(&runtime, grant(&spec(&"0".repeat(64)))).await.unwrap_err();
    let LoadError::Pinned { found, .. } = &refused else { panic!("{refused:?}") };
    let extension = load_by(&runtime, grant(&spec(found))).await.unwrap();
    assert_eq!(answer(work(&extension, "count").await), "1");
}

/// An extension and its clones share instances, output rate and grant.
#[tokio::test]
async fn a_runtime_is_for_one_kind_of_data_and_serves_many_worlds() {
    let runtime = host().build().unwrap();
    let embedded = runtime.load_file::<Pre>(&guest("embedded"), within("{}")).await.unwrap();
    assert_eq!((embedded.name(), embedded.grant().api.len()), ("tried", 1));
    let others = RuntimeBuilder::<u8>::new().engine(runtime.engine().clone()).build().unwrap();
    let refused: Result<attache::extension::Extension<_, u8>, _> =
        others.load_file::<attache::wasmtime_wasi::p2::bindings::CommandPre<_>>(&guest("embedded"), within("{}")).await;
    assert!(matches!(refused, Err(LoadError::MissingGrant(_))), "it offers nothing of the first one's");
    drop(Service::default());
}
