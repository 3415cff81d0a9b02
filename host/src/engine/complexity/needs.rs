//! The needs of an instance, and the bounds that an engine or a grant sets for them.

use serde::{Deserialize, Serialize};

/// The needs of one instance of a component from the beginning; or, for an engine, the maximum of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Needs {
    /// Instances of core modules.
    pub core_instances: u64,
    /// Linear memories.
    pub memories: u64,
    /// Bytes of the largest memory.
    pub largest_memory: u64,
    /// Tables.
    pub tables: u64,
    /// Elements of the largest table.
    pub largest_table: u64,
    /// Bytes that the engine keeps beside memories and tables: for each function that can be referred to, each import
    /// and each global. The count from a component's bytes is less than the engine's own.
    pub metadata: u64,
}

/// One of an instance's needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// [`Needs::core_instances`].
    CoreInstances,
    /// [`Needs::memories`].
    Memories,
    /// [`Needs::largest_memory`].
    LargestMemory,
    /// [`Needs::tables`].
    Tables,
    /// [`Needs::largest_table`].
    LargestTable,
    /// [`Needs::metadata`].
    Metadata,
}

impl Need {
    /// Every need.
    const ALL: [Self; 6] =
        [Self::LargestMemory, Self::LargestTable, Self::CoreInstances, Self::Memories, Self::Tables, Self::Metadata];
}

impl Needs {
    /// Returns the amount of one need.
    pub fn of(&self, need: Need) -> u64 {
        match need {
            Need::CoreInstances => self.core_instances,
            Need::Memories => self.memories,
            Need::LargestMemory => self.largest_memory,
            Need::Tables => self.tables,
            Need::LargestTable => self.largest_table,
            Need::Metadata => self.metadata,
        }
    }

    /// Returns the first need that exceeds `most`.
    pub fn beyond(&self, most: &Self) -> Option<Need> {
        Need::ALL.into_iter().find(|need| self.of(*need) > most.of(*need))
    }

    /// Adds the needs of another instance.
    pub(super) fn add(&mut self, other: &Self) {
        self.core_instances = self.core_instances.saturating_add(other.core_instances);
        self.memories = self.memories.saturating_add(other.memories);
        self.tables = self.tables.saturating_add(other.tables);
        self.metadata = self.metadata.saturating_add(other.metadata);
        self.largest_memory = self.largest_memory.max(other.largest_memory);
        self.largest_table = self.largest_table.max(other.largest_table);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_and_sizes_do_not() {
        let one = Needs { core_instances: 1, memories: 2, largest_memory: 3, tables: 4, largest_table: 5, metadata: 6 };
        let mut two = one;
        two.add(&Needs { largest_memory: 2, largest_table: 9, ..one });
        assert_eq!(
            two,
            Needs { core_instances: 2, memories: 4, largest_memory: 3, tables: 8, largest_table: 9, metadata: 12 }
        );
        assert_eq!(two.beyond(&two), None);
        assert_eq!(two.beyond(&Needs { tables: 7, ..two }), Some(Need::Tables));
    }
}
