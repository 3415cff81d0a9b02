//! The comparison of a component's needs with its grant and this host, before it is compiled.

use wasmtime::component::Component;

use super::load::LoadError;
use super::runtime::Shared;
use crate::engine::{EngineError, Need, Needs};
use crate::policy::{Grant, Limit, LimitHit, LimitValue, Limits};

/// Returns the maximum that a component may need under `grant`. Its memories and tables may grow later, within the
/// grant's limits. This function decides only whether an instance can be made at all.
pub(super) fn most(grant: &Grant, inner: &Shared) -> Needs {
    let limits = allowed(grant, inner);
    let room = inner.engine.room();
    Needs {
        core_instances: room.core_instances.min(limits.core_instances.into()),
        memories: room.memories.min(limits.memories.into()),
        ..room
    }
}

/// Returns the grant's limits within the host's ceiling.
fn allowed(grant: &Grant, inner: &Shared) -> Limits {
    grant.limits.capped_by(&inner.ceiling)
}

/// Fails with the first need of a component that exceeds its maximum.
pub(super) fn check(needs: &Needs, grant: &Grant, inner: &Shared) -> Result<(), LoadError> {
    match needs.beyond(&most(grant, inner)) {
        Some(need) => Err(beyond(needs, need, grant, inner)),
        None => Ok(()),
    }
}

/// Checks machine code that was compiled elsewhere, as [`check`] does, by the fewer needs that are known of it.
pub(super) fn check_artefact(component: &Component, grant: &Grant, inner: &Shared) -> Result<(), LoadError> {
    let Some(found) = component.resources_required() else { return Ok(()) };
    let needs = Needs {
        memories: found.num_memories.into(),
        largest_memory: found.max_initial_memory_size.unwrap_or_default(),
        tables: found.num_tables.into(),
        largest_table: found.max_initial_table_size.unwrap_or_default(),
        ..Needs::default()
    };
    check(&needs, grant, inner)
}

/// Adds the exceeded limit to the error of a compiler that has refused to begin.
pub(super) fn explained(error: EngineError, grant: &Grant, inner: &Shared) -> LoadError {
    match error {
        EngineError::Needs { needs } => match check(&needs, grant, inner) {
            Err(beyond) => beyond,
            Ok(()) => EngineError::Needs { needs }.into(),
        },
        other => other.into(),
    }
}

fn beyond(needs: &Needs, need: Need, grant: &Grant, inner: &Shared) -> LoadError {
    let (limit, of) = match need {
        Need::CoreInstances => (Limit::CoreInstances, "core instances"),
        Need::Memories => (Limit::Memories, "memories"),
        Need::LargestMemory => (Limit::Memory, "of memory"),
        Need::Tables => (Limit::Tables, "tables"),
        Need::LargestTable => (Limit::TableElements, "elements in a table"),
        Need::Metadata => (Limit::Metadata, "of what the engine keeps of its functions"),
    };
    let amount = |amount: u64| match need {
        Need::LargestMemory | Need::Metadata => LimitValue::Bytes(amount),
        _ => LimitValue::Count(amount),
    };
    let most = most(grant, inner).of(need);
    let begins = format!("{} {of}", amount(needs.of(need)));
    let reached = LimitHit { limit, allowed: amount(most) };
    let asked = match need {
        Need::CoreInstances => Some(grant.limits.core_instances),
        Need::Memories => Some(grant.limits.memories),
        _ => None,
    };
    if asked.is_some_and(|asked| u64::from(asked) == most) {
        return LoadError::ExceedsLimit { begins, whose: "its grant's", reached, remedy: reached.remedy() };
    }
    let remedy = "no grant raises it, only the host itself, by its engine's settings and its ceiling".to_owned();
    LoadError::ExceedsLimit { begins, whose: "this host's", reached, remedy }
}
