//! WASI for an extension: all of wasmtime-wasi but its file system and its texts of errors.
//!
//! Threat: `wasi:io/error.to-debug-string` gives a guest the `Debug` output of a host's error. That is a backtrace with
//! the host's paths, for which megabytes of symbols are read. Here a guest gets the error's message, cut.

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView};
use wasmtime_wasi::p2::IoError;
use wasmtime_wasi::p2::bindings::io::{error, poll, streams};
use wasmtime_wasi::p2::bindings::{LinkOptions, cli, clocks, random, sockets};
use wasmtime_wasi::random::{WasiRandom, WasiRandomView};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView};

/// The longest text of an error that a guest gets, in bytes.
const MAX_ERROR: usize = 1024;

struct HasIo;

impl HasData for HasIo {
    type Data<'a> = &'a mut ResourceTable;
}

struct HasErrors;

impl HasData for HasErrors {
    type Data<'a> = Errors<'a>;
}

/// The errors of streams in a guest's table.
struct Errors<'a>(&'a mut ResourceTable);

impl error::Host for Errors<'_> {}

impl error::HostError for Errors<'_> {
    fn to_debug_string(&mut self, error: Resource<IoError>) -> wasmtime::Result<String> {
        let error = self.0.get(&error)?;
        Ok(words(error.chain().map(ToString::to_string)))
    }

    fn drop(&mut self, error: Resource<IoError>) -> wasmtime::Result<()> {
        self.0.delete(error)?;
        Ok(())
    }
}

/// Returns the messages of an error and its causes, one after another, cut at [`MAX_ERROR`].
fn words(causes: impl Iterator<Item = String>) -> String {
    let mut words = causes.collect::<Vec<_>>().join(": ");
    let end = (0..=MAX_ERROR.min(words.len())).rev().find(|end| words.is_char_boundary(*end));
    words.truncate(end.unwrap_or_default());
    words
}

/// Adds WASI 0.2 but `wasi:filesystem` and `wasi:http` to a linker whose store is run asynchronously.
///
/// # Errors
/// Fails when the linker has one of the names already.
pub fn add_to_linker<T: WasiView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    let l = linker;
    error::add_to_linker::<T, HasErrors>(l, |state| Errors(state.ctx().table))?;
    poll::add_to_linker::<T, HasIo>(l, |state| state.ctx().table)?;
    streams::add_to_linker::<T, HasIo>(l, |state| state.ctx().table)?;
    clocks::wall_clock::add_to_linker::<T, WasiClocks>(l, T::clocks)?;
    clocks::monotonic_clock::add_to_linker::<T, WasiClocks>(l, T::clocks)?;
    random::random::add_to_linker::<T, WasiRandom>(l, T::random)?;
    random::insecure::add_to_linker::<T, WasiRandom>(l, T::random)?;
    random::insecure_seed::add_to_linker::<T, WasiRandom>(l, T::random)?;
    cli::exit::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::environment::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::stdin::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::stdout::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::stderr::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::terminal_input::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::terminal_output::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::terminal_stdin::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::terminal_stdout::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::terminal_stderr::add_to_linker::<T, WasiCli>(l, T::cli)?;
    add_sockets_to_linker(l)
}

/// Components of wasi-libc import sockets even if they do not use them. The guest's `WasiCtx` refuses each use.
fn add_sockets_to_linker<T: WasiView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    let l = linker;
    sockets::tcp::add_to_linker::<T, WasiSockets>(l, T::sockets)?;
    sockets::tcp_create_socket::add_to_linker::<T, WasiSockets>(l, T::sockets)?;
    sockets::udp::add_to_linker::<T, WasiSockets>(l, T::sockets)?;
    sockets::udp_create_socket::add_to_linker::<T, WasiSockets>(l, T::sockets)?;
    sockets::instance_network::add_to_linker::<T, WasiSockets>(l, T::sockets)?;
    sockets::network::add_to_linker::<T, WasiSockets>(l, &LinkOptions::default().into(), T::sockets)?;
    sockets::ip_name_lookup::add_to_linker::<T, WasiSockets>(l, T::sockets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_within_a_letter_nowhere() {
        assert_eq!(words(["cannot read", "gone"].map(String::from).into_iter()), "cannot read: gone");
        let long = words(std::iter::once("é".repeat(MAX_ERROR)));
        assert_eq!(long.len(), MAX_ERROR);
        assert_eq!(words(std::iter::once(format!("x{}", "é".repeat(MAX_ERROR)))).len(), MAX_ERROR - 1);
    }
}
