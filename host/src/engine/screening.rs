//! What a component may be made of, read from its bytes before any of it is compiled.
//!
//! Threat: a few bytes that unfold while they are compiled. The compiler has limits, but some of them come after the
//! work that they limit, and types within types are read by recursion, which ends a process when its stack does. All
//! is counted here in one pass and without recursion, as an upper bound; each bound is far beyond what compilers of
//! languages make, and says so in [`Excess`].

use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind, ComponentTypeRef, Encoding,
    Parser, Payload,
};

/// Components and modules within each other. Tools that compose components nest three or four.
const MAX_NESTING: usize = 32;

/// Instance and component types that stand within another type, all together. A language's component has some dozens; to
/// read each takes some 3 KiB of stack, so that these fit into that of any thread.
const MAX_INNER_TYPES: usize = 250;

/// What is made when a component is instantiated, that of all components within it as often as they are. A language's
/// component has some hundreds; each takes about a kilobyte while it is compiled.
const MAX_PARTS: u64 = 100_000;

/// Functions of all modules. A Python interpreter has some 20,000; each takes about two kilobytes while it is compiled.
const MAX_FUNCTIONS: u64 = 250_000;

/// Entries that modules fill their tables with, as many as functions at most where a compiler wrote them.
const MAX_ELEMENTS: u64 = 250_000;

/// How a component's type section says that a type is declared within a type (component model's Binary.md: an `instancedecl`
/// or `componentdecl` `0x01`), and that it is a component's or an instance's (`0x41`, `0x42`).
const DECLARED_TYPE: u8 = 0x01;
const COMPONENT_TYPE: u8 = 0x41;
const INSTANCE_TYPE: u8 = 0x42;

/// Why a component is not even given to the compiler.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// Components within components.
    #[error("it nests components and modules deeper than {MAX_NESTING}")]
    Nesting,
    /// Types within types.
    #[error("it has more than {MAX_INNER_TYPES} types within its types")]
    InnerTypes,
    /// Instances of components that have instances of components.
    #[error(
        "it consists of more than {MAX_PARTS} parts, counting those of its inner components as often as they are used"
    )]
    Parts,
    /// Functions.
    #[error("its modules have more than {MAX_FUNCTIONS} functions")]
    Functions,
    /// Entries of tables.
    #[error("its modules fill tables with more than {MAX_ELEMENTS} entries")]
    Elements,
    /// A component that is an argument: how often it is used is not to be seen where it is defined.
    #[error("a component in it takes a component as an argument, which is not supported here")]
    Argument,
}

/// Counts what `component` is made of. What is not well-formed is left to the compiler's own, better words.
///
/// [`Engine::compile`](super::Engine::compile) begins with this; whoever gives a stranger's component to wasmtime itself
/// calls it before.
///
/// # Errors
/// Says what the component has too much of.
pub fn screen(component: &[u8]) -> Result<(), Excess> {
    let mut counted = Counted::default();
    for payload in Parser::new(0).parse_all(component) {
        let Ok(payload) = payload else { return Ok(()) };
        match counted.add(&payload, component) {
            Ok(()) => {}
            Err(Stop::Malformed) => return Ok(()),
            Err(Stop::Excess(excess)) => return Err(excess),
        }
    }
    Ok(())
}

enum Stop {
    Malformed,
    Excess(Excess),
}

impl From<wasmparser::BinaryReaderError> for Stop {
    fn from(_: wasmparser::BinaryReaderError) -> Self {
        Self::Malformed
    }
}

impl From<Excess> for Stop {
    fn from(excess: Excess) -> Self {
        Self::Excess(excess)
    }
}

#[derive(Default)]
struct Counted {
    /// The components and modules that are being read, the outermost first.
    open: Vec<Open>,
    inner_types: usize,
    functions: u64,
    elements: u64,
}

/// A component, or a module, as far as it is read.
#[derive(Default)]
struct Open {
    module: bool,
    /// How many parts an instance of each component in its index space has.
    components: Vec<u64>,
    parts: u64,
}

impl Open {
    fn component(&self, index: u32) -> Result<u64, Stop> {
        usize::try_from(index).ok().and_then(|index| self.components.get(index).copied()).ok_or(Stop::Malformed)
    }
}

impl Counted {
    fn add(&mut self, payload: &Payload<'_>, bytes: &[u8]) -> Result<(), Stop> {
        match payload {
            Payload::Version { encoding, .. } => {
                if self.open.len() == MAX_NESTING {
                    return Err(Excess::Nesting.into());
                }
                self.open.push(Open { module: *encoding == Encoding::Module, ..Open::default() });
            }
            Payload::End(_) => self.close(),
            Payload::ComponentTypeSection(types) => {
                let section = bytes.get(types.range()).unwrap_or_default();
                let inner = |pair: &&[u8]| matches!(pair, [DECLARED_TYPE, COMPONENT_TYPE | INSTANCE_TYPE]);
                self.inner_types = self.inner_types.saturating_add(section.windows(2).filter(inner).count());
                within(self.inner_types <= MAX_INNER_TYPES, Excess::InnerTypes)?;
            }
            Payload::FunctionSection(functions) => {
                self.functions = self.functions.saturating_add(functions.count().into());
                within(self.functions <= MAX_FUNCTIONS, Excess::Functions)?;
            }
            Payload::ElementSection(segments) => {
                for segment in segments.clone() {
                    let count = match segment?.items {
                        wasmparser::ElementItems::Functions(items) => items.count(),
                        wasmparser::ElementItems::Expressions(_, items) => items.count(),
                    };
                    self.elements = self.elements.saturating_add(count.into());
                }
                within(self.elements <= MAX_ELEMENTS, Excess::Elements)?;
            }
            other => self.add_parts(other)?,
        }
        Ok(())
    }

    /// The parts of a component's own, and what stands in its index space of components.
    fn add_parts(&mut self, payload: &Payload<'_>) -> Result<(), Stop> {
        let parts = match payload {
            Payload::ComponentInstanceSection(instances) => {
                let mut parts = 0_u64;
                for instance in instances.clone() {
                    parts = parts.saturating_add(match instance? {
                        ComponentInstance::Instantiate { component_index, args } => {
                            self.innermost()?.component(component_index)?.saturating_add(length(args.len()))
                        }
                        ComponentInstance::FromExports(exports) => length(exports.len()),
                    });
                }
                parts.saturating_add(instances.count().into())
            }
            Payload::ComponentAliasSection(aliases) => {
                for alias in aliases.clone() {
                    match alias? {
                        ComponentAlias::Outer { kind: ComponentOuterAliasKind::Component, count, index } => {
                            let outer = usize::try_from(count).ok().and_then(|count| self.open.iter().rev().nth(count));
                            let aliased = outer.ok_or(Stop::Malformed)?.component(index)?;
                            self.innermost()?.components.push(aliased);
                        }
                        ComponentAlias::InstanceExport { kind: ComponentExternalKind::Component, .. } => {
                            return Err(Excess::Argument.into());
                        }
                        _ => {}
                    }
                }
                aliases.count().into()
            }
            Payload::ComponentImportSection(imports) => {
                for import in imports.clone() {
                    within(!matches!(import?.ty, ComponentTypeRef::Component(_)), Excess::Argument)?;
                }
                imports.count().into()
            }
            Payload::ComponentExportSection(exports) => {
                for export in exports.clone() {
                    let export = export?;
                    if export.kind == ComponentExternalKind::Component {
                        let exported = self.innermost()?.component(export.index)?;
                        self.innermost()?.components.push(exported);
                    }
                }
                exports.count().into()
            }
            Payload::InstanceSection(instances) => instances.count().into(),
            Payload::ComponentCanonicalSection(functions) => functions.count().into(),
            Payload::ComponentTypeSection(types) => types.count().into(),
            _ => return Ok(()),
        };
        let open = self.innermost()?;
        open.parts = open.parts.saturating_add(parts);
        within(open.parts <= MAX_PARTS, Excess::Parts)
    }

    fn innermost(&mut self) -> Result<&mut Open, Stop> {
        self.open.last_mut().ok_or(Stop::Malformed)
    }

    /// A component that has ended can be used by what is around it.
    fn close(&mut self) {
        let Some(closed) = self.open.pop() else { return };
        if let Some(outer) = self.open.last_mut()
            && !closed.module
        {
            outer.components.push(closed.parts);
        }
    }
}

fn within(holds: bool, excess: Excess) -> Result<(), Stop> {
    if holds { Ok(()) } else { Err(excess.into()) }
}

fn length(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
