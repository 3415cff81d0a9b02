//! Allocates memory and touches it, `memory-hog [MEBIBYTES]`, by default without end. Prints each allocated mebibyte.

use std::process::ExitCode;

const MEBIBYTE: usize = 1 << 20;

fn main() -> ExitCode {
    let wanted = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let mut held: Vec<Vec<u8>> = Vec::new();
    for count in 1..=wanted.unwrap_or(usize::MAX) {
        let mut block = Vec::new();
        if let Err(error) = block.try_reserve_exact(MEBIBYTE) {
            println!("refused after {} MiB: {error}", held.len());
            return ExitCode::FAILURE;
        }
        block.resize(MEBIBYTE, 1);
        held.push(block);
        println!("{count} MiB");
    }
    ExitCode::SUCCESS
}
