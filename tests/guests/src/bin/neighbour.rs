//! What an ordinary extension does in a call: reads its labels as a file and as metadata, asks for a pod, prints.
//!
//! `neighbour MOUNT TYPE NAMESPACE NAME`

use std::error::Error;

use attache_guest::api::{Collection, ResourceType};
use attache_guest::pod;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mount, of, namespace, name] = arguments.as_slice() else {
        return Err("arguments: MOUNT TYPE NAMESPACE NAME".into());
    };
    let file = std::fs::read_to_string(format!("{mount}/labels"))?;
    let label = pod::label("app")?.ok_or("no label app")?;
    let objects = Collection::namespaced(&of.parse::<ResourceType>()?, namespace)?;
    let object = objects.get_json(name)?;
    println!("{} {label} {}", file.len(), object.len());
    Ok(())
}
