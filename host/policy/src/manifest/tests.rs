//! Manifests as people write them, and as they should not.
#![allow(clippy::unwrap_used)]

use super::*;

fn parse(spec: &str) -> Result<ExtensionManifest, String> {
    let text = format!("apiVersion: attache.dev/v1alpha1\nkind: Extension\nmetadata: {{name: x}}\nspec: {spec}\n");
    ExtensionManifest::parse(&text).map_err(|error| error.to_string())
}

#[test]
fn a_manifest_is_read_whole() {
    let manifest = parse(
        "{component: {file: a.wasm}, grantFile: g.yaml, args: [a], env: [{name: A, value: b c}], \
         instance: {calls: 128, idle: 1m}, \
         trigger: {http: {listen: '127.0.0.1:8080', path: /hooks, host: Example.COM, tls: {directory: /tls}}}}",
    )
    .unwrap();
    assert_eq!(manifest.grant, GrantSource::File("g.yaml".into()));
    assert_eq!(manifest.instance, InstanceReuse { calls: 128, idle: Duration::from_mins(1) });
    assert_eq!(manifest.env, [("A".into(), "b c".into())]);
    let Trigger::Http(http) = manifest.trigger else { unreachable!() };
    assert_eq!((http.path.as_str(), http.host.as_deref()), ("/hooks", Some("example.com")));
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (spec, expected) in [
        ("{component: {file: a}, grant: {}, trigger: {}}", "spec.trigger: the field is missing"),
        ("{component: {file: a}, grant: {}, trigger: {comand: {}}}", "did you mean `command`?"),
        ("{component: {file: a}, grant: {}, trigger: {command: {}, http: {listen: x}}}", "cannot stand beside"),
        ("{component: {file: a}, trigger: {command: {}}}", "spec.grant: the field is missing"),
        ("{component: {file: a}, grant: {}, grantFile: x, trigger: {command: {}}}", "`grantFile`"),
        ("{component: {file: a}, grant: {podinf: {}}, trigger: {command: {}}}", "spec.grant.podinf: unknown field"),
        ("{component: {fil: a}, grant: {}, trigger: {command: {}}}", "did you mean `file`?"),
        ("{component: {file: a}, grant: {}, trigger: {schedule: {cron: '* * * * *', overlap: forbid}}}", "`Forbid`?"),
        ("{component: {file: a}, grant: {}, trigger: {command: {}}, instance: {calls: 2}}", "spec.instance"),
        ("{component: {file: a}, grant: {}, trigger: {http: {listen: x, path: hooks}}}", "begins with `/`"),
        (
            "{component: {file: a}, grant: {}, trigger: {command: {}}, restart: {backoff: {first: 1h, most: 1m}}}",
            "at most `most`",
        ),
    ] {
        let error = parse(spec).unwrap_err();
        assert!(error.starts_with("4:") && error.contains(expected), "{spec}: {error}");
    }
}
