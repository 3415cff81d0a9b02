//! A command as a service runs it: `service until-stopped`, `service exit CODE`, `service spin`,
//! `service work ROUNDS`, `service trap`, or `service labels FILE`, which prints a file and ends.

use std::io::Read;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    println!("started {}", std::env::var("VERSION").unwrap_or_default());
    match words.as_slice() {
        ["until-stopped"] => {
            // The end of stdin is the signal to stop.
            let ended = std::io::stdin().read_to_end(&mut Vec::new());
            println!("stopped {}", ended.is_ok());
        }
        ["exit", code] => return ExitCode::from(code.parse::<u8>().unwrap_or(u8::MAX)),
        ["spin"] => loop {
            std::hint::spin_loop();
        },
        ["work", rounds] => {
            for round in 0..rounds.parse::<u64>().unwrap_or_default() {
                std::hint::black_box(round);
            }
        }
        ["trap"] => panic!("as asked"),
        ["labels", file] => match std::fs::read_to_string(file) {
            Ok(labels) => print!("{labels}"),
            Err(error) => println!("{error}"),
        },
        _ => println!("usage: service until-stopped | exit CODE | spin | work ROUNDS | trap | labels FILE"),
    }
    ExitCode::SUCCESS
}
