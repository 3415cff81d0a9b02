#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::json;

use super::{Document, ManifestError, load, parse};

fn one(text: &str) -> Document {
    let mut documents = parse(text, "f.yaml").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(documents.len(), 1);
    documents.remove(0)
}

fn error(text: &str) -> String {
    parse(text, "f.yaml").unwrap_err().to_string()
}

fn seed(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/manifests/seed").join(name)
}

const POD: &str = "\
# a pod
apiVersion: v1
kind: Pod
metadata:
  name: p
  labels:
    app.kubernetes.io/name: x
    a.b: y
spec:
  volumes:
  - name: one
    downwardAPI:
      defaultMode: 0644
      items:
      - {path: labels, fieldRef: {fieldPath: metadata.labels}}
  -
    name: two
";

#[test]
fn each_field_knows_its_line_and_column() {
    let document = one(POD);
    let location = |field: &str| {
        let location = document.location(field);
        (location.line, location.column)
    };
    assert_eq!(location("metadata.name"), (5, 9));
    assert_eq!(location("metadata"), (4, 1));
    assert_eq!(location("metadata.labels[app.kubernetes.io/name]"), (7, 29));
    assert_eq!(location("metadata.labels.app.kubernetes.io/name"), (7, 29));
    assert_eq!(location("metadata.labels.a.b"), (8, 10));
    assert_eq!(location("spec.volumes[0]"), (11, 5));
    assert_eq!(location("spec.volumes[0].downwardAPI.items[0].fieldRef.fieldPath"), (15, 46));
    assert_eq!(location("spec.volumes[1].name"), (17, 11));
    assert_eq!(document.location("metadata.name").to_string(), "f.yaml:5:9");
}

#[test]
fn a_field_that_is_not_there_is_placed_at_the_innermost_one_that_is() {
    let document = one(POD);
    assert_eq!(document.location("spec.volumes[0].downwardAPI.fieldRef.fieldPath").line, 12);
    assert_eq!(document.location("spec.volumes[7].name").line, 10);
    assert_eq!(document.location("status.phase").line, 2);
    assert_eq!(document.location("").line, 2);
    assert_eq!(document.location("metadata.nam").line, 4);
    assert_eq!(document.location("[").line, 2);
}

#[test]
fn scalars_are_read_as_kubectl_does() {
    let document = one(
        "apiVersion: v1\nkind: X\ndata: {octal: 0644, yes: yes, text: \"0644\", big: 18446744073709551615, minus: -3, float: 1.5, none: ~}\n",
    );
    let data = document.object().get("data").unwrap();
    assert_eq!(
        *data,
        json!({"octal": 420, "yes": true, "text": "0644", "big": u64::MAX, "minus": -3, "float": 1.5, "none": null})
    );
}

#[test]
fn many_documents_and_lists_are_flattened_and_empty_ones_left_out() {
    let text = "---\n# nothing\n---\napiVersion: v1\nkind: A\n---\napiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: B\n  metadata: {name: b, namespace: ns}\n- {apiVersion: v1, kind: List, items: [{apiVersion: x/v1, kind: C}]}\n---\n";
    let documents = parse(text, "f.yaml").unwrap();
    let kinds: Vec<_> = documents.iter().map(|document| (document.kind(), document.api_version())).collect();
    assert_eq!(kinds, [("A", "v1"), ("B", "v1"), ("C", "x/v1")]);
    assert_eq!((documents[1].name(), documents[1].namespace()), ("b", "ns"));
    assert_eq!(documents[1].location("kind").line, 11);
    assert_eq!(documents[2].location("kind").line, 13);
    assert!(parse("", "f.yaml").unwrap().is_empty());
}

#[test]
fn json_is_yaml() {
    assert_eq!(
        one(r#"{"apiVersion": "v1", "kind": "Pod", "spec": {"a": [1, "x"]}}"#).object()["spec"],
        json!({"a": [1, "x"]})
    );
}

#[test]
fn what_is_no_object_of_the_api_is_refused_with_its_place() {
    assert_eq!(error("\n\nspec: {}\n"), "f.yaml:3:1: apiVersion not set, kind not set");
    assert_eq!(error("apiVersion: v1\n---\nkind: X\napiVersion: \"\"\n"), "f.yaml:1:1: kind not set");
    assert_eq!(error("apiVersion: v1\nkind: List\nitems: [{kind: X}]"), "f.yaml:3:9: apiVersion not set");
    assert!(error("- a\n- b\n").starts_with("f.yaml:1:1: a document must be an object"));
    assert!(error("just text").starts_with("f.yaml:1:1: a document must be an object"));
}

#[test]
fn faults_of_the_yaml_are_placed() {
    assert!(error("a: b\n  c: d\n").starts_with("f.yaml:2:"), "{}", error("a: b\n  c: d\n"));
    assert!(error("a: b\na: c\n").starts_with("f.yaml:2:1: "), "{}", error("a: b\na: c\n"));
    assert!(error("a: [b\n").starts_with("f.yaml:"));
    assert!(error("\ta: b\n").starts_with("f.yaml:1:"));
}

#[test]
fn the_dots_at_the_end_of_the_seeds_manifests_are_pointed_at() {
    for (name, line) in [("downward-env.yaml", 34), ("downward-volume.yaml", 41)] {
        let Err(ManifestError::Syntax { location, message }) = load([seed(name)]) else { panic!("{name} is taken") };
        assert_eq!(location.line, line, "{name}: {message}");
        assert_eq!(message, "could not find expected ':'");
    }
}

#[test]
fn the_seeds_other_manifests_are_yaml() {
    for name in [
        "dapi-volume.yaml",
        "dapi-volume-resources.yaml",
        "curl-with-ambassador.yaml",
        "downward-env-cut.yaml",
        "downward-volume-cut.yaml",
    ] {
        let documents = load([seed(name)]).unwrap();
        assert_eq!(documents[0].kind(), "Pod", "{name}");
    }
    let error = load([seed("downward-volume-container-resource.yaml")]).unwrap_err();
    assert!(error.to_string().ends_with(":1:1: apiVersion not set, kind not set"), "{error}");
    let multi_line = load([seed("downward-volume-cut.yaml")]).unwrap();
    assert_eq!(multi_line[0].object()["metadata"]["annotations"]["key2"], "multi \nline \nvalue\n");
}

#[test]
fn no_text_makes_the_reader_grow_without_end() {
    let mut laughs = String::from("apiVersion: v1\nkind: X\na0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let previous = level - 1;
        let aliases = vec![format!("*a{previous}"); 9].join(", ");
        laughs = format!("{laughs}a{level}: &a{level} [{aliases}]\n");
    }
    assert!(error(&laughs).starts_with("f.yaml:"), "{}", error(&laughs));
    assert!(error(&"[".repeat(5_000)).starts_with("f.yaml:1:"));
    assert!(error(&format!("a: {}", "{a: ".repeat(500))).starts_with("f.yaml:1:"));
    assert!(error(&"- x\n".repeat(300_000)).starts_with("f.yaml:"));
    assert!(error(&"#".repeat(5 << 20)).contains("more than"));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = load(["/nowhere/pod.yaml"]).unwrap_err();
    assert_eq!(error.to_string(), "cannot read /nowhere/pod.yaml");
}
