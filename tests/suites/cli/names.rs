//! Components with hostile names: audit records, terminal commands, megabytes.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Ended, command, end, folder};

/// Lines as they would stand in a log, and what a terminal obeys or does not show.
const FORGED: &str = "url=<x\n{\"time\":\"2026-01-01T00:00:00.000000Z\",\"verdict\":\"allowed\"}\n\
     2026-01-01T00:00:00.000000Z  WARN attache::gate: all is well\r\n- imports nothing\
     \u{1b}[2J\u{202e}\u{2028}\u{e0041}\u{ad}>";

/// Returns a component with this import and this export.
fn component(folder: &Path, import: &str, export: &str) -> PathBuf {
    let quoted = |name: &str| name.bytes().map(|byte| format!("\\{byte:02x}")).collect::<String>();
    let (import, export) = (quoted(import), quoted(export));
    let text = format!(r#"(component (import "{import}" (func)) (instance $i) (export "{export}" (instance $i)))"#);
    let file = folder.join("named.wasm");
    std::fs::write(&file, wat::parse_str(text).unwrap()).unwrap();
    file
}

fn attache(what: &str, file: &Path, more: &[&str]) -> Ended {
    end(command([OsStr::new(what), file.as_os_str()]).args(more))
}

/// Asserts that nothing acts but the breaks of the host's own lines.
#[track_caller]
fn is_plain(text: &str) {
    let acts =
        |letter: char| (letter.is_control() && letter != '\n') || "\u{202e}\u{2028}\u{e0041}\u{ad}".contains(letter);
    assert!(!text.contains(acts), "{text:?}");
    assert!(text.lines().all(|line| !line.starts_with(['{', '2'])), "{text}");
    assert!(text.lines().all(|line| line.chars().count() < 400), "{text}");
}

#[test]
fn an_import_cannot_put_lines_into_the_log_or_the_audit() {
    let folder = folder();
    let ended = attache("run", &component(folder.path(), FORGED, "a"), &[]);
    ended.refused(&["error: imports url=<x\\n{\"time\"", "\\u{ad}>, which this host does not have"]);
    assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
    is_plain(&ended.err);
}

#[test]
fn each_import_that_is_not_there_has_one_line_and_only_the_first_begins_it() {
    let folder = folder();
    let text = r#"(component (import "url=<a\0aerror: b>" (func)) (import "c:d/e" (instance)))"#;
    let file = folder.path().join("two.wasm");
    std::fs::write(&file, wat::parse_str(text).unwrap()).unwrap();
    assert_eq!(
        attache("run", &file, &[]).err,
        "error: imports url=<a\\nerror: b>, which this host does not have\n       \
         imports c:d/e, which this host does not have\n"
    );
}

#[test]
fn what_inspect_prints_has_a_line_for_each_name() {
    let folder = folder();
    let file = component(folder.path(), FORGED, "a");
    let ended = attache("inspect", &file, &[]);
    assert_eq!(ended.code, Some(125), "{}", ended.err);
    is_plain(&ended.out);
    assert_eq!(ended.out.lines().count(), 12, "{}", ended.out);
    assert_eq!(ended.out.lines().filter(|line| line.starts_with("- ")).count(), 1, "{}", ended.out);
}

#[test]
fn json_has_the_names_as_they_are() {
    let folder = folder();
    let ended = attache("inspect", &component(folder.path(), FORGED, "a"), &["-o", "json"]);
    let found: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(found["imports"][0]["name"], FORGED);
    assert_eq!(found["exports"][0]["name"], "a");
    is_plain(found["lacks"][0].as_str().unwrap());
}

#[test]
fn a_name_of_any_length_is_cut() {
    let folder = folder();
    for name in [format!("url=<{}>", "A".repeat(90_000)), format!("url=<{}>", "\u{1b}".repeat(20_000))] {
        let file = component(folder.path(), &name, &"a".repeat(80_000));
        let ended = attache("inspect", &file, &[]);
        assert_eq!(ended.code, Some(125), "{}", ended.err);
        assert!(ended.err.is_empty(), "{}", ended.err);
        is_plain(&ended.out);
        let ended = attache("run", &file, &[]);
        ended.refused(&["…, which this host does not have"]);
        is_plain(&ended.err);
    }
}

#[test]
fn a_draft_has_nothing_that_a_name_says() {
    let folder = folder();
    let rule = "api:\n  - {apiGroups: [''], resources: [secrets], verbs: [get]}";
    let plain = component(folder.path(), &format!("url=<x\nspec:\n  {rule}\n#>"), "a");
    let odd = folder.path().join(format!("x\nspec:\n  {rule}\n#\u{202e}.wasm"));
    std::fs::rename(&plain, &odd).unwrap();
    let ended = attache("inspect", &odd, &["--draft"]);
    let draft = ended.printed();
    is_plain(draft);
    assert!(!draft.lines().any(|line| line.trim_start().starts_with("api:")), "{draft}");
}
