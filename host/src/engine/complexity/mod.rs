//! The bounds on the parts of a component, checked on its bytes before any of it is compiled.
//!
//! Threat: a few bytes that unfold while they are compiled. Some limits of the compiler come after the work that they
//! limit. Types within types are read by recursion, which ends a process when its stack overflows. So everything is
//! counted here in one pass and without recursion, as an upper bound. Each bound is far beyond the output of language
//! compilers, and [`ComponentTooComplex`] names it. The same pass counts the needs of an instance ([`Needs`]), and
//! finds the features that are switched off.

mod module;
mod needs;
mod unsupported;

pub use needs::{Need, Needs};

use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind, ComponentTypeRef, Encoding,
    Instance, Parser, Payload,
};

use module::Module;

/// The maximum depth of components and modules within each other. Tools that compose components nest three or four.
const MAX_NESTING: usize = 32;

/// The maximum of instance and component types that stand within another type, all together. A language's component has
/// some dozens. Reading each takes some 3 KiB of stack, so that these fit into the stack of any thread.
const MAX_INNER_TYPES: usize = 250;

/// The maximum of parts that an instantiation creates, counting those of inner components as often as they are used. A
/// language's component has some hundreds; each takes about a kilobyte while it is compiled.
const MAX_PARTS: u64 = 100_000;

/// The maximum of functions of all modules. A Python interpreter has some 20,000; each takes about two kilobytes while
/// it is compiled.
const MAX_FUNCTIONS: u64 = 250_000;

/// The maximum of entries that modules fill their tables with. A language compiler writes at most as many as there are
/// functions.
const MAX_ELEMENTS: u64 = 250_000;

/// The encoding of a type within a type in a component's type section (component model's Binary.md): an `instancedecl`
/// or `componentdecl` `0x01`, then a component's `0x41` or an instance's `0x42`.
const DECLARED_TYPE: u8 = 0x01;
const COMPONENT_TYPE: u8 = 0x41;
const INSTANCE_TYPE: u8 = 0x42;

/// The reason for which a component is refused before it is compiled.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ComponentTooComplex {
    /// Too many components within components.
    #[error("it nests components and modules deeper than {MAX_NESTING}")]
    Nesting,
    /// Too many types within types.
    #[error("it has more than {MAX_INNER_TYPES} types within its types")]
    InnerTypes,
    /// Too many instances of components that have instances of components.
    #[error(
        "it consists of more than {MAX_PARTS} parts, counting those of its inner components as often as they are used"
    )]
    Parts,
    /// Too many functions.
    #[error("its modules have more than {MAX_FUNCTIONS} functions")]
    Functions,
    /// Too many entries of tables.
    #[error("its modules fill tables with more than {MAX_ELEMENTS} entries")]
    Elements,
    /// A component that is an argument: its uses cannot be counted where it is defined.
    #[error("a component in it takes a component as an argument, which is not supported here")]
    Argument,
    /// The interfaces of WASI 0.3.
    #[error(
        "it is built for WASI 0.3 (it has {0}), and this host has WASI 0.2: build it for that, as Rust's target \
         wasm32-wasip2, componentize-py and jco do for a world of WASI 0.2"
    )]
    Wasi03(String),
    /// The component model's own concurrency, which belongs to WASI 0.3.
    #[error(
        "it uses asynchronous functions, futures or streams of the component model, which belong to WASI 0.3, and this \
         host has WASI 0.2: build it for that, as Rust's target wasm32-wasip2, componentize-py and jco do"
    )]
    Async,
    /// Objects that the engine would have to collect.
    #[error(
        "it uses WebAssembly's garbage collection, which is switched off in this host: what is compiled from Kotlin, Dart \
         or Java relies on it and cannot run here"
    )]
    Gc,
    /// Exceptions.
    #[error(
        "it uses WebAssembly's exceptions, which are switched off in this host: Kotlin, Dart and Java rely on them and \
         cannot run here, C++ is built with -fno-exceptions"
    )]
    Exceptions,
}

/// Counts the parts of `component`, and the needs of an instance of it. A component that is not well-formed has no
/// needs here: the compiler's own error about it is better.
///
/// [`Engine::compile`](super::Engine::compile) begins with this. A caller that gives an untrusted component to wasmtime
/// itself calls this function first.
///
/// # Errors
/// Fails with the part that the component has too much of, or the feature that this host does not have.
pub fn check_complexity(component: &[u8]) -> Result<Needs, ComponentTooComplex> {
    let mut counted = Counted::default();
    for payload in Parser::new(0).parse_all(component) {
        let Ok(payload) = payload else { return Ok(Needs::default()) };
        match counted.add(&payload, component) {
            Ok(()) => {}
            Err(Stop::Malformed) => return Ok(Needs::default()),
            Err(Stop::ComponentTooComplex(excess)) => return Err(excess),
        }
    }
    Ok(counted.needs)
}

enum Stop {
    Malformed,
    ComponentTooComplex(ComponentTooComplex),
}

impl From<wasmparser::BinaryReaderError> for Stop {
    fn from(_: wasmparser::BinaryReaderError) -> Self {
        Self::Malformed
    }
}

impl From<ComponentTooComplex> for Stop {
    fn from(excess: ComponentTooComplex) -> Self {
        Self::ComponentTooComplex(excess)
    }
}

#[derive(Default)]
struct Counted {
    /// The components and modules that are being read, the outermost first.
    open: Vec<Open>,
    inner_types: usize,
    functions: u64,
    elements: u64,
    /// The needs of an instance of the outermost component, after that is read.
    needs: Needs,
}

/// A component, or a module, as far as it is read.
#[derive(Default)]
struct Open {
    /// Set for a module.
    module: Option<Module>,
    /// The parts and needs of an instance of each component in its index space.
    components: Vec<(u64, Needs)>,
    /// The needs of an instance of each module in its index space; nothing for a module that is defined elsewhere.
    modules: Vec<Needs>,
    parts: u64,
    needs: Needs,
}

impl Open {
    fn component(&self, index: u32) -> Result<(u64, Needs), Stop> {
        at(&self.components, index).ok_or(Stop::Malformed)
    }

    fn module(&self, index: u32) -> Result<Needs, Stop> {
        at(&self.modules, index).ok_or(Stop::Malformed)
    }
}

fn at<T: Copy>(all: &[T], index: u32) -> Option<T> {
    usize::try_from(index).ok().and_then(|index| all.get(index).copied())
}

impl Counted {
    fn add(&mut self, payload: &Payload<'_>, bytes: &[u8]) -> Result<(), Stop> {
        match payload {
            Payload::Version { encoding, .. } => {
                if self.open.len() == MAX_NESTING {
                    return Err(ComponentTooComplex::Nesting.into());
                }
                let module = (*encoding == Encoding::Module).then(Module::default);
                self.open.push(Open { module, ..Open::default() });
            }
            Payload::End(_) => {
                self.close();
                return Ok(());
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                let open = self.innermost()?;
                open.parts = open.parts.saturating_add(1);
                return within(open.parts <= MAX_PARTS, ComponentTooComplex::Parts);
            }
            Payload::ComponentTypeSection(types) => {
                let section = bytes.get(types.range()).unwrap_or_default();
                let inner = |pair: &&[u8]| matches!(pair, [DECLARED_TYPE, COMPONENT_TYPE | INSTANCE_TYPE]);
                self.inner_types = self.inner_types.saturating_add(section.windows(2).filter(inner).count());
                within(self.inner_types <= MAX_INNER_TYPES, ComponentTooComplex::InnerTypes)?;
            }
            Payload::FunctionSection(functions) => {
                self.functions = self.functions.saturating_add(functions.count().into());
                within(self.functions <= MAX_FUNCTIONS, ComponentTooComplex::Functions)?;
            }
            Payload::ElementSection(segments) => {
                for segment in segments.clone() {
                    let count = match segment?.items {
                        wasmparser::ElementItems::Functions(items) => items.count(),
                        wasmparser::ElementItems::Expressions(_, items) => items.count(),
                    };
                    self.elements = self.elements.saturating_add(count.into());
                }
                within(self.elements <= MAX_ELEMENTS, ComponentTooComplex::Elements)?;
            }
            other => self.add_parts(other)?,
        }
        if let Some(module) = self.open.last_mut().and_then(|open| open.module.as_mut()) {
            return module.add(payload);
        }
        unsupported::look(payload, self.open.len() == 1)
    }

    /// Counts the component's own parts, and adds to its index space of components.
    fn add_parts(&mut self, payload: &Payload<'_>) -> Result<(), Stop> {
        let parts = match payload {
            Payload::ComponentInstanceSection(instances) => {
                let mut parts = 0_u64;
                for instance in instances.clone() {
                    parts = parts.saturating_add(match instance? {
                        ComponentInstance::Instantiate { component_index, args } => {
                            let open = self.innermost()?;
                            let (parts, needs) = open.component(component_index)?;
                            open.needs.add(&needs);
                            parts.saturating_add(length(args.len()))
                        }
                        ComponentInstance::FromExports(exports) => length(exports.len()),
                    });
                }
                parts.saturating_add(instances.count().into())
            }
            Payload::ComponentAliasSection(aliases) => {
                within(u64::from(aliases.count()) <= MAX_PARTS, ComponentTooComplex::Parts)?;
                for alias in aliases.clone() {
                    self.alias(&alias?)?;
                }
                aliases.count().into()
            }
            Payload::ComponentImportSection(imports) => {
                within(u64::from(imports.count()) <= MAX_PARTS, ComponentTooComplex::Parts)?;
                for import in imports.clone() {
                    match import?.ty {
                        ComponentTypeRef::Component(_) => return Err(ComponentTooComplex::Argument.into()),
                        ComponentTypeRef::Module(_) => self.innermost()?.modules.push(Needs::default()),
                        _ => {}
                    }
                }
                imports.count().into()
            }
            Payload::ComponentExportSection(exports) => {
                within(u64::from(exports.count()) <= MAX_PARTS, ComponentTooComplex::Parts)?;
                for export in exports.clone() {
                    let (export, open) = (export?, self.innermost()?);
                    match export.kind {
                        ComponentExternalKind::Component => open.components.push(open.component(export.index)?),
                        ComponentExternalKind::Module => open.modules.push(open.module(export.index)?),
                        _ => {}
                    }
                }
                exports.count().into()
            }
            Payload::InstanceSection(instances) => {
                for instance in instances.clone() {
                    if let Instance::Instantiate { module_index, .. } = instance? {
                        let open = self.innermost()?;
                        open.needs.add(&open.module(module_index)?);
                        open.needs.core_instances = open.needs.core_instances.saturating_add(1);
                    }
                }
                instances.count().into()
            }
            Payload::ComponentCanonicalSection(functions) => functions.count().into(),
            Payload::ComponentTypeSection(types) => types.count().into(),
            _ => return Ok(()),
        };
        let open = self.innermost()?;
        open.parts = open.parts.saturating_add(parts);
        within(open.parts <= MAX_PARTS, ComponentTooComplex::Parts)
    }

    /// Adds an alias to the index spaces of components and modules.
    fn alias(&mut self, alias: &ComponentAlias<'_>) -> Result<(), Stop> {
        match *alias {
            ComponentAlias::Outer { kind: ComponentOuterAliasKind::Component, count, index } => {
                let aliased = self.outer(count)?.component(index)?;
                self.innermost()?.components.push(aliased);
            }
            ComponentAlias::Outer { kind: ComponentOuterAliasKind::CoreModule, count, index } => {
                let aliased = self.outer(count)?.module(index)?;
                self.innermost()?.modules.push(aliased);
            }
            ComponentAlias::InstanceExport { kind: ComponentExternalKind::Component, .. } => {
                return Err(ComponentTooComplex::Argument.into());
            }
            ComponentAlias::InstanceExport { kind: ComponentExternalKind::Module, .. } => {
                self.innermost()?.modules.push(Needs::default());
            }
            _ => {}
        }
        Ok(())
    }

    fn outer(&self, count: u32) -> Result<&Open, Stop> {
        usize::try_from(count).ok().and_then(|count| self.open.iter().rev().nth(count)).ok_or(Stop::Malformed)
    }

    fn innermost(&mut self) -> Result<&mut Open, Stop> {
        self.open.last_mut().ok_or(Stop::Malformed)
    }

    /// Closes a component or a module, which the component around it can use from then on.
    fn close(&mut self) {
        let Some(closed) = self.open.pop() else { return };
        match (closed.module, self.open.last_mut()) {
            (Some(module), Some(outer)) => outer.modules.push(module.needs()),
            (None, Some(outer)) => outer.components.push((closed.parts, closed.needs)),
            (_, None) => self.needs = closed.needs,
        }
    }
}

fn within(holds: bool, excess: ComponentTooComplex) -> Result<(), Stop> {
    if holds { Ok(()) } else { Err(excess.into()) }
}

fn length(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
