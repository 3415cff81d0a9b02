//! An ordinary extension: reads its labels as a file and as metadata, reads a pod, and prints.
//!
//! `neighbour MOUNT TYPE NAMESPACE NAME`

use std::error::Error;
use std::fs::read_to_string;
use std::io::{self, ErrorKind};

use attache_guest::api::{Collection, ResourceType};
use attache_guest::pod;

/// The largest number of attempts to read a file.
const LOOKS: usize = 10;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mount, of, namespace, name] = arguments.as_slice() else {
        return Err("arguments: MOUNT TYPE NAMESPACE NAME".into());
    };
    let file = labels(mount).map_err(|error| format!("reading the labels: {error}"))?;
    let label = pod::label("app")?.ok_or("no label app")?;
    let objects = Collection::namespaced(&of.parse::<ResourceType>()?, namespace)?;
    let object = objects.get_json(name)?;
    println!("{} {label} {}", file.len(), object.len());
    Ok(())
}

/// Reads labels from a volume that may be swapped. Between the read of the link and of its file the kubelet may have
/// removed the old files; a retry then finds the new files.
fn labels(mount: &str) -> io::Result<String> {
    let look = || read_to_string(format!("{mount}/labels"));
    let gone = |read: &io::Result<String>| matches!(read, Err(error) if error.kind() == ErrorKind::NotFound);
    (1..LOOKS).map(|_| look()).find(|read| !gone(read)).unwrap_or_else(look)
}
