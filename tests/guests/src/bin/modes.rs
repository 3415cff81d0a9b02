//! Prints each projected file as the host and as `std::fs` see it, `modes [DIRECTORY]`, `/etc/podinfo` by default:
//! `PATH MODE BYTES` with the mode in octal.

use std::fs;

use attache_guest::pod;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::args().nth(1);
    let directory = directory.unwrap_or_else(|| "/etc/podinfo".into());
    for pod::File { path, mode } in pod::files()? {
        let bytes = fs::metadata(format!("{directory}/{path}"))?.len();
        println!("{path} {mode:04o} {bytes}");
    }
    Ok(())
}
