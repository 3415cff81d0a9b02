//! An extension of an embedder's own service. The service is `host/examples/embed.rs`.
//!
//! The extension exports the function that the service calls, imports the interface that the service offers, and reads
//! its pod's metadata through the SDK.

#![allow(unsafe_code, reason = "the export macro, expanded below, hands functions to the component model")]

mod bindings {
    //! The world of the service. The interfaces of Attaché come from the SDK.
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
        inline: "
            package example:greeter;

            interface guests {
                visits: func(who: string) -> u32;
            }

            world extension {
                import guests;
                export greet: func(who: string) -> string;
            }
        ",
        world: "example:greeter/extension",
    });
}

use attache_guest::pod;
use bindings::example::greeter::guests;

struct Greeter;

impl bindings::Guest for Greeter {
    fn greet(who: String) -> String {
        let place = match pod::identity() {
            Ok(pod::Identity { name: Some(name), namespace: Some(namespace), .. }) => format!("{namespace}/{name}"),
            Ok(_) => "a pod that I may not name".to_owned(),
            Err(error) => format!("a pod that I cannot read ({error})"),
        };
        match guests::visits(&who) {
            0 => format!("Welcome to {place}, {who}."),
            visits => format!("Welcome back to {place}, {who}; this is visit {}.", visits + 1),
        }
    }
}

bindings::export!(Greeter with_types_in bindings);

fn main() {}
