//! The host's interfaces without the SDK, for guests that use them wrongly. An import that a guest does not call is not
//! in its component.
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
        package attache:hostile;

        world raw {
            import wasi:clocks/monotonic-clock@0.2.12;
            import wasi:io/poll@0.2.12;
            import wasi:io/streams@0.2.12;
            import wasi:cli/stdout@0.2.12;
            import wasi:random/random@0.2.12;
            import attache:pod/metadata@0.1.0;
            import attache:pod/api@0.1.0;
        }
    ",
    path: "../../wit",
    world: "attache:hostile/raw",
    generate_all,
});
