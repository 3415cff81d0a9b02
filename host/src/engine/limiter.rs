//! What one instance may hold of memory and tables, and which ceiling it hit.

use wasmtime::ResourceLimiter;

/// Tables elements that one instance may have; a compiled language's component has some thousands.
const TABLE_ELEMENTS: usize = 20_000;

/// A ceiling that a guest ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ceiling {
    /// Linear memory, in bytes.
    Memory(usize),
    /// Elements of one table.
    Table(usize),
}

impl std::fmt::Display for Ceiling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Memory(bytes) => write!(f, "memory: {bytes} bytes"),
            Self::Table(elements) => write!(f, "table: {elements} elements"),
        }
    }
}

/// Bounds the growth of one instance, and remembers the first growth that it refused.
///
/// A refused growth is not a trap: `memory.grow` answers -1 and the guest's allocator decides. What it decides is most
/// often to abort, and then [`Limiter::hit`] says why.
#[derive(Debug)]
pub struct Limiter {
    memory: usize,
    held: usize,
    hit: Option<Ceiling>,
}

impl Limiter {
    /// Bounds all linear memories of the instance together to `memory` bytes.
    pub fn new(memory: usize) -> Self {
        Self { memory, held: 0, hit: None }
    }

    /// Returns the first ceiling that a growth was refused for.
    pub fn hit(&self) -> Option<Ceiling> {
        self.hit
    }

    /// Returns the linear memory that the instance holds, in bytes.
    pub fn held(&self) -> usize {
        self.held
    }

    fn refuse(&mut self, ceiling: Ceiling) -> wasmtime::Result<bool> {
        self.hit.get_or_insert(ceiling);
        Ok(false)
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let grown = self.held.saturating_add(desired.saturating_sub(current));
        if grown > self.memory {
            return self.refuse(Ceiling::Memory(self.memory));
        }
        // Beyond its own declared maximum the guest's growth fails whatever is answered here.
        if maximum.is_none_or(|maximum| desired <= maximum) {
            self.held = grown;
        }
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired > TABLE_ELEMENTS {
            return self.refuse(Ceiling::Table(TABLE_ELEMENTS));
        }
        Ok(true)
    }
}
