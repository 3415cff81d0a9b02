//! The bounds of an instance's memory and tables.

use wasmtime::ResourceLimiter;

/// A ceiling that refused a growth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ceiling {
    /// All linear memories together, in bytes.
    Memory(usize),
    /// Elements of all tables together.
    Tables(usize),
}

/// A bound on the growth of one instance, which records the first growth that it refused.
///
/// A refused growth is not a trap: `memory.grow` returns -1 and the guest's allocator decides. Most allocators then
/// abort, and [`Limiter::hit`] gives the reason.
#[derive(Debug)]
pub struct Limiter {
    memory: Bound,
    tables: Bound,
    memories: usize,
    hit: Option<Ceiling>,
}

/// The bound of a resource, and the amount in use.
#[derive(Debug)]
struct Bound {
    most: usize,
    held: usize,
}

impl Bound {
    /// Returns whether one memory or table of the instance may grow from `current` to `desired`.
    fn takes(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> bool {
        let grown = self.held.saturating_add(desired.saturating_sub(current));
        if grown > self.most {
            return false;
        }
        // A growth beyond the guest's own declared maximum fails, whatever this function returns.
        if maximum.is_none_or(|maximum| desired <= maximum) {
            self.held = grown;
        }
        true
    }
}

impl Limiter {
    /// Bounds all linear memories of the instance together to `memory` bytes, and all its tables to `tables` elements.
    pub fn new(memory: usize, tables: usize) -> Self {
        let bound = |most| Bound { most, held: 0 };
        Self { memory: bound(memory), tables: bound(tables), memories: usize::MAX, hit: None }
    }

    /// Bounds the number of the instance's linear memories; by default only the engine's bound holds.
    #[must_use]
    pub fn memories(self, count: usize) -> Self {
        Self { memories: count, ..self }
    }

    /// Forgets a refused growth, because a new call of the same instance begins.
    pub fn forget_hit(&mut self) {
        self.hit = None;
    }

    /// Returns the first ceiling that refused a growth.
    pub fn hit(&self) -> Option<Ceiling> {
        self.hit
    }

    /// Returns the linear memory that the instance holds, in bytes.
    pub fn held(&self) -> usize {
        self.memory.held
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let taken = self.memory.takes(current, desired, maximum);
        if !taken {
            self.hit.get_or_insert(Ceiling::Memory(self.memory.most));
        }
        Ok(taken)
    }

    fn memories(&self) -> usize {
        self.memories
    }

    fn instances(&self) -> usize {
        // The engine's own bound is lower, and checked before the component is compiled.
        usize::MAX
    }

    fn tables(&self) -> usize {
        usize::MAX
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let taken = self.tables.takes(current, desired, maximum);
        if !taken {
            self.hit.get_or_insert(Ceiling::Tables(self.tables.most));
        }
        Ok(taken)
    }
}
