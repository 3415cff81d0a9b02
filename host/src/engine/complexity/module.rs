//! The needs of one core module.

use wasmparser::{CompositeInnerType, ElementItems, ExternalKind, Payload, TypeRef};

use super::{ComponentTooComplex, MAX_FUNCTIONS, Needs, Stop, within};

/// The page size of a memory that does not declare its own, as a power of two: 64 KiB.
const PAGE: u32 = 16;

/// The bytes that an instance keeps for a function that can be referred to (`VMFuncRef`), for an imported one
/// (`VMFunctionImport`) and for a global (`VMGlobalDefinition`). Wasmtime's own count is larger, and decides in the
/// end.
const REFERENCE: u64 = 32;
const IMPORT: u64 = 24;
const GLOBAL: u64 = 16;

/// A module, as far as it is read.
#[derive(Default)]
pub(super) struct Module {
    needs: Needs,
    imported: u64,
    globals: u64,
    /// One flag by a function's index, set where something refers to the function.
    referred: Vec<bool>,
}

impl Module {
    pub(super) fn needs(self) -> Needs {
        let referred = self.referred.iter().filter(|referred| **referred).count();
        let referred = u64::try_from(referred).unwrap_or(u64::MAX).saturating_mul(REFERENCE);
        let metadata = referred.saturating_add(self.imported.saturating_mul(IMPORT));
        Needs { metadata: metadata.saturating_add(self.globals.saturating_mul(GLOBAL)), ..self.needs }
    }

    pub(super) fn add(&mut self, payload: &Payload<'_>) -> Result<(), Stop> {
        match payload {
            Payload::TypeSection(groups) => {
                for group in groups.clone() {
                    let objects =
                        |ty: &wasmparser::SubType| !matches!(ty.composite_type.inner, CompositeInnerType::Func(_));
                    if group?.types().any(objects) {
                        return Err(ComponentTooComplex::Gc.into());
                    }
                }
            }
            Payload::TagSection(_) => return Err(ComponentTooComplex::Exceptions.into()),
            Payload::ImportSection(imports) => {
                for import in imports.clone().into_imports() {
                    match import?.ty {
                        TypeRef::Tag(_) => return Err(ComponentTooComplex::Exceptions.into()),
                        TypeRef::Func(_) | TypeRef::FuncExact(_) => self.imported = self.imported.saturating_add(1),
                        _ => {}
                    }
                    within(self.imported <= MAX_FUNCTIONS, ComponentTooComplex::Functions)?;
                }
            }
            Payload::MemorySection(memories) => {
                self.needs.memories = self.needs.memories.saturating_add(memories.count().into());
                for memory in memories.clone() {
                    let memory = memory?;
                    let page = 1_u64.checked_shl(memory.page_size_log2.unwrap_or(PAGE)).unwrap_or(u64::MAX);
                    self.needs.largest_memory = self.needs.largest_memory.max(memory.initial.saturating_mul(page));
                }
            }
            Payload::TableSection(tables) => {
                self.needs.tables = self.needs.tables.saturating_add(tables.count().into());
                for table in tables.clone() {
                    self.needs.largest_table = self.needs.largest_table.max(table?.ty.initial);
                }
            }
            Payload::GlobalSection(globals) => self.globals = self.globals.saturating_add(globals.count().into()),
            Payload::FunctionSection(functions) => {
                let functions = u64::from(functions.count()).saturating_add(self.imported);
                // Neither is more than `MAX_FUNCTIONS` here.
                self.referred.resize(usize::try_from(functions).unwrap_or_default(), false);
            }
            Payload::ExportSection(exports) => {
                for export in exports.clone() {
                    let export = export?;
                    if export.kind == ExternalKind::Func {
                        self.refer(export.index);
                    }
                }
            }
            Payload::ElementSection(segments) => {
                for segment in segments.clone() {
                    if let ElementItems::Functions(items) = segment?.items {
                        items.into_iter().try_for_each(|index| index.map(|index| self.refer(index)))?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn refer(&mut self, function: u32) {
        let referred = usize::try_from(function).ok().and_then(|index| self.referred.get_mut(index));
        if let Some(referred) = referred {
            *referred = true;
        }
    }
}
