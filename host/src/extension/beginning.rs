//! What a component's modules have from the start, where that is more than any instance of this host can have.
//!
//! Wasmtime refuses such a component in words only. So its bytes are asked, once it has been refused.

use super::load::LoadError;
use crate::engine::{Engine, TABLE_ELEMENTS};
use crate::policy::{Allowed, Limit, Reached};
use wasmparser::{BinaryReaderError, Parser, Payload};

/// A page of a memory that does not say how large its pages are: 64 KiB.
const PAGE: u32 = 16;

impl LoadError {
    /// Names the limit that `component` begins beyond, if it was not loaded and that may be why.
    pub(super) fn with_limit(self, component: &[u8], engine: &Engine) -> Self {
        let Self::Load(source) = self else { return self };
        let Ok(largest) = Largest::of(component) else { return Self::Load(source) };
        let (memory, elements) = (engine.memory_ceiling() as u64, TABLE_ELEMENTS as u64);
        let beyond =
            |begins, limit, allowed, source| Self::Beyond { begins, reached: Reached { limit, allowed }, source };
        if largest.memory > memory {
            beyond(Allowed::Bytes(largest.memory), Limit::Memory, Allowed::Bytes(memory), source)
        } else if largest.table > elements {
            beyond(Allowed::Count(largest.table), Limit::TableElements, Allowed::Count(elements), source)
        } else {
            Self::Load(source)
        }
    }
}

/// The largest memory, in bytes, and the largest table, in elements, of all modules.
#[derive(Debug, Default, PartialEq, Eq)]
struct Largest {
    memory: u64,
    table: u64,
}

impl Largest {
    fn of(component: &[u8]) -> Result<Self, BinaryReaderError> {
        let mut largest = Self::default();
        for payload in Parser::new(0).parse_all(component) {
            match payload? {
                Payload::MemorySection(memories) => {
                    for memory in memories {
                        let memory = memory?;
                        let page = 1_u64.checked_shl(memory.page_size_log2.unwrap_or(PAGE)).unwrap_or(u64::MAX);
                        largest.memory = largest.memory.max(memory.initial.saturating_mul(page));
                    }
                }
                Payload::TableSection(tables) => {
                    for table in tables {
                        largest.table = largest.table.max(table?.ty.initial);
                    }
                }
                _ => {}
            }
        }
        Ok(largest)
    }
}
