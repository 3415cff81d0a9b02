//! The embedding example: a service with a world of its own.

use std::process::{Command, Stdio};

use attache_tests::{guest, programs};

use super::end;

#[test]
fn a_service_calls_its_extension_which_knows_its_pod() {
    let mut embed = Command::new(programs().embed());
    embed.env_clear().env("POD_NAME", "web-0").env("POD_NAMESPACE", "shop").arg(guest("greeter"));
    let ended = end(embed.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()));
    let greetings = [
        "Welcome to shop/web-0, Ada.",
        "Welcome back to shop/web-0, Ada; this is visit 2.",
        "Welcome back to shop/web-0, Ada; this is visit 3.",
    ];
    assert_eq!(ended.printed().lines().collect::<Vec<_>>(), greetings);
}
