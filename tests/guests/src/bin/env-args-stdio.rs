//! Prints its arguments and its environment, one a line, copies stdin to stdout, and prints `done` to stderr.

use std::io;

fn main() -> io::Result<()> {
    for argument in std::env::args().skip(1) {
        println!("argument {argument}");
    }
    let mut variables: Vec<_> = std::env::vars().collect();
    variables.sort();
    for (name, value) in variables {
        println!("variable {name}={value}");
    }
    io::copy(&mut io::stdin(), &mut io::stdout())?;
    eprintln!("done");
    Ok(())
}
