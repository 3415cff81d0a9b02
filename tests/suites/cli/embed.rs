//! The embedding examples: services with a world of their own.

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

/// One instance serves all callers, so each caller sees the number of earlier callers.
#[test]
fn a_service_keeps_one_instance_for_all_its_callers() {
    let mut session = Command::new(programs().session());
    session.env_clear().env("POD_NAME", "web-0").env("POD_NAMESPACE", "shop").arg(guest("greeter"));
    let ended = end(session.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()));
    let printed = ended.printed();
    assert_eq!(printed.lines().count(), 3, "{printed}");
    for name in ["Ada", "Grace", "Edsger"] {
        assert!(printed.contains(&format!(", {name}; this is visit ")), "{printed}");
    }
    for visit in 2..=4 {
        assert!(printed.contains(&format!("this is visit {visit}.")), "{printed}");
    }
}
