//! Exits with a code. `exit-code N` exits as `std` does: in WASI 0.2 the host then learns only whether the code is
//! zero. `exit-code exactly N` uses the call that carries the code.

use std::process::ExitCode;

mod wasi_exit {
    //! The one call that `std` does not make.
    #![allow(
        unsafe_code,
        missing_docs,
        unreachable_pub,
        dead_code,
        clippy::all,
        clippy::pedantic,
        reason = "generated code"
    )]

    wit_bindgen::generate!({
        inline: "package attache:test; world exit { import wasi:cli/exit@0.2.12; }",
        path: "../../wit",
        world: "attache:test/exit",
        generate_all,
    });
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["exactly", code] => wasi_exit::wasi::cli::exit::exit_with_code(number(code)),
        [code] => std::process::exit(number(code).into()),
        _ => eprintln!("usage: exit-code [exactly] N"),
    }
    ExitCode::FAILURE
}

/// Parses a number. Returns a code that no test uses if the text is no number.
fn number(text: &str) -> u8 {
    text.parse().unwrap_or(u8::MAX)
}
