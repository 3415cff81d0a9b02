//! Compiling within the memory that there is.

use std::fmt::Write;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, Write as _};
use std::process::{Command, Stdio};

use attache::engine::{Allocator, CompilerOutOfMemory, CompilerProcess, EngineError};
use attache::extension::{LoadError, Runtime};
use attache::policy::Grant;
use attache_tests::{attache, guest};
use tempfile::TempDir;

use super::{RUNS, binary, grant, host, run};

const MIB: u64 = 1 << 20;

/// Returns a function in which `size` variables live across `size` branches: registers for it take memory by the square
/// of that.
fn enormous(size: usize) -> Vec<u8> {
    let mut body = String::from("(local $i i32)");
    body.push_str(&"(local i32)".repeat(size));
    body.push_str("(loop $l");
    for at in 0..size {
        write!(body, "(block $b{at} ").unwrap();
    }
    let labels = (0..size).map(|at| format!("$b{at} ")).collect::<String>();
    write!(body, "(br_table {labels} (i32.and (local.get $i) (i32.const 255)))").unwrap();
    for at in (0..size).rev() {
        let [x, y, z] = [(at * 7) % size + 1, (at * 13 + 5) % size + 1, (at * 29 + 11) % size + 1];
        write!(
            body,
            ") (local.set {x} (i32.add (local.get {y}) (i32.mul (local.get {z}) (i32.const {at}))))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $l (i32.lt_u (local.get $i) (i32.const 1000)))"
        )
        .unwrap();
    }
    body.push_str(") (i32.and (local.get 1) (i32.const 0))");
    binary(&format!(
        r#"(component (core module $m (func (export "run") (result i32) {body}))
            (core instance $i (instantiate $m)) {RUNS})"#
    ))
}

/// Returns a directory with the files of a machine whose control group, of version 1 or 2, has this limit and use.
fn machine(version: u8, limit: u64, used: u64) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let file = |path: &str, text: &str| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let (limit, used) = (format!("{limit}\n"), format!("{used}\n"));
    if version == 2 {
        file("proc/self/cgroup", "0::/pod/container\n");
        file("proc/self/mountinfo", "31 24 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        file("sys/fs/cgroup/pod/container/memory.max", "max\n");
        // The pod's limit is around the container's.
        file("sys/fs/cgroup/pod/memory.max", &limit);
        file("sys/fs/cgroup/pod/memory.current", &used);
    } else {
        file("proc/self/cgroup", "9:cpu:/x\n4:memory:/pod/container\n0::/\n");
        file("proc/self/mountinfo", "40 32 0:35 /pod /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
        file("sys/fs/cgroup/memory/container/memory.limit_in_bytes", &limit);
        file("sys/fs/cgroup/memory/container/memory.usage_in_bytes", &used);
    }
    root
}

fn process() -> CompilerProcess {
    CompilerProcess::new(attache(), ["compile-for-host"])
}

fn within(process: CompilerProcess) -> Runtime {
    host().compiler(process).build().unwrap()
}

/// Compiles a component in this process's way, and returns how its registers were given out.
async fn allocator(process: CompilerProcess, component: &[u8]) -> Result<Allocator, LoadError> {
    let folder = tempfile::tempdir().unwrap();
    let (file, artefact) = (folder.path().join("a.wasm"), folder.path().join("a.cwasm"));
    std::fs::write(&file, component).unwrap();
    Ok(within(process).compile_file(&file, &artefact).await?.compilation.allocator)
}

fn out_of_memory(error: LoadError) -> CompilerOutOfMemory {
    match error {
        LoadError::Engine(EngineError::CompilerMemory(out)) => out,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_does_not_fit_is_compiled_in_the_way_that_does() {
    let component = enormous(250);
    for version in [1, 2] {
        let tight = machine(version, 512 * MIB, 476 * MIB);
        let made = allocator(process().limits_below(tight.path()), &component).await;
        assert_eq!(made.unwrap(), Allocator::SinglePass, "version {version}");
    }
    // It runs as it would otherwise.
    let tight = machine(2, 512 * MIB, 476 * MIB);
    let runtime = within(process().limits_below(tight.path()));
    let extension = runtime.load_command(component.clone(), grant("{}")).await.unwrap();
    assert_eq!(run(&extension).await.unwrap().code, 0);
    // With as much as it likes it is compiled well.
    let ample = machine(2, 4096 * MIB, 0);
    let made = allocator(process().memory(1024 * MIB).limits_below(ample.path()), &component).await;
    assert_eq!(made.unwrap(), Allocator::Backtracking);
}

#[tokio::test]
async fn where_nothing_fits_it_is_refused_with_what_to_do() {
    let component = enormous(250);
    // So little that no try is worth it.
    let full = machine(1, 512 * MIB, 500 * MIB);
    let error = allocator(process().limits_below(full.path()), &component).await.unwrap_err();
    let said = error.to_string();
    let out = out_of_memory(error);
    let whose = "control group /sys/fs/cgroup/memory/container, which leaves 12 MiB of its 512 MiB";
    assert_eq!(out.bounded_by.as_deref(), Some(whose));
    for words in [whose, "Give it more", "codegen-units = 16", "attache compile"] {
        assert!(said.contains(words), "{words:?} is not in: {said}");
    }
    // Too little for either way.
    let out = out_of_memory(allocator(process().memory(4 * MIB), &component).await.unwrap_err());
    assert_eq!((out.memory, out.bounded_by), (4 * MIB, None));
    // A neighbour that is compiled next is none the worse for it.
    let ample = machine(2, 4096 * MIB, 0);
    let small = std::fs::read(guest("empty")).unwrap();
    let made = allocator(process().limits_below(ample.path()), &small).await;
    assert_eq!(made.unwrap(), Allocator::Backtracking);
}

/// The first attempt takes the usual memory for a component of that size, even if there is more.
#[tokio::test]
async fn a_few_enormous_functions_do_not_take_all_memory() {
    let made = allocator(process(), &enormous(400)).await;
    assert_eq!(made.unwrap(), Allocator::SinglePass);
}

/// Returns the peak of a process's resident memory in bytes, from `/proc`.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

/// A component of 200 MiB is never held by the host, neither once nor twice.
#[test]
fn a_large_component_takes_none_of_the_hosts_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.wasm");
    std::fs::copy(guest("sleep-long"), &path).unwrap();
    // A custom section of zeroes, of which the disk holds nothing.
    let (name, zeroes) = (b"\x05large", 200 * MIB);
    let mut file = File::options().append(true).open(&path).unwrap();
    let mut size = zeroes + name.len() as u64;
    let mut section = vec![0];
    while size >= 0x80 {
        section.push(u8::try_from(size & 0x7f).unwrap() | 0x80);
        size >>= 7;
    }
    section.push(u8::try_from(size).unwrap());
    file.write_all(&[&section, name.as_slice()].concat()).unwrap();
    let end = file.stream_position().unwrap();
    file.set_len(end + zeroes).unwrap();
    let grant = folder.path().join("grant.yaml");
    let text =
        "apiVersion: attache.dev/v1alpha1\nkind: Grant\nmetadata: {name: large}\nspec: {limits: {deadline: 10m}}\n";
    std::fs::write(&grant, text).unwrap();
    let mut command = Command::new(attache());
    command.env_clear().arg("run").arg(&path).arg("--no-cache").arg("--grant").arg(&grant);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let peak = peak(child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(line, "sleeping\n");
    assert!(peak < zeroes, "the host held {} MiB", peak / MIB);
}

#[tokio::test]
async fn a_component_beyond_the_largest_is_refused_before_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("huge.wasm");
    let mut file = File::create(&path).unwrap();
    file.write_all(b"\0asm\x0d\0\x01\0").unwrap();
    file.set_len(1 << 40).unwrap();
    for runtime in [host().build().unwrap(), within(process())] {
        let refused = runtime.load_command_file(&path, Grant::nothing("huge")).await.unwrap_err();
        assert!(matches!(refused, LoadError::TooLarge { .. }), "{refused:?}");
    }
}
