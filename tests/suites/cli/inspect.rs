//! `attache inspect`.

use std::ffi::OsStr;

use attache_tests::guest;
use serde_json::Value;

use super::{command, end, folder, grant};

#[test]
fn a_table_says_how_each_import_stands_to_the_grant() {
    let ended = end(&mut command([OsStr::new("inspect"), guest("pod-card").as_os_str()]));
    assert_eq!(ended.code, Some(125), "{}", ended.err);
    for line in ["attache:pod/api@0.1.0", "not granted: add a rule under `api:`", "wasi:cli/run@0.2", "attache run"] {
        assert!(ended.out.contains(line), "{line:?} is not in:\n{}", ended.out);
    }
}

#[test]
fn under_a_grant_that_fits_nothing_lacks() {
    let folder = folder();
    let file = grant(&folder, "{podinfo: {}, api: [{apiGroups: [''], resources: [pods], verbs: [list]}]}");
    let mut inspect = command([OsStr::new("inspect"), guest("pod-card").as_os_str()]);
    let ended = end(inspect.arg("--grant").arg(file).args(["--output", "json"]));
    let found: Value = serde_json::from_str(ended.printed()).unwrap();
    assert_eq!(found["lacks"], Value::Array(Vec::new()));
    assert_eq!(found["sha256"].as_str().unwrap().len(), 64);
    assert!(found["imports"].as_array().unwrap().iter().all(|import| import["standing"] == "granted"), "{found}");
}
