//! Wrong command lines: each ends with 2, before anything is read or asked.

use super::{command, end};

/// Command lines that are wrong whatever files, variables and servers there are, with a part of the message.
const WRONG: &[(&str, &str)] = &[
    ("--log json run x.wasm", "nothing here logs as \"json\""),
    ("run x.wasm --log warn,verbose", "nothing here logs as \"verbose\""),
    ("run x.wasm --api-server foo://x", "is neither https nor http"),
    ("run x.wasm --api-server http://10.0.0.1", "loopback"),
    ("run x.wasm --podinfo a --podinfo b", "say MOUNTPATH=DIR where there are several"),
    ("run x.wasm --podinfo /etc/a=b --podinfo /etc/a=c", "/etc/a is given twice"),
    ("run x.wasm --wait 5", "a duration is a number and one of"),
    ("run x.wasm --record r.yaml", "--grant <FILE>"),
    ("run x.wasm --kubeconfig k --api-server https://x", "cannot be used with"),
    ("inspect --access", "--grant <FILE>"),
    ("inspect --grant g --access --api-server x", "the API server's URL"),
    ("compile x.wasm --no-cache", "nothing would be kept"),
    ("proxy", "no grant, so nobody may do anything"),
    ("proxy --grant a.yaml --grant b.yaml", "b.yaml: another grant has this place already"),
    ("proxy --grant /a/=a.yaml --grant /a/=b.yaml", "b.yaml: another grant has this place already"),
    ("proxy --grant /a/../=a.yaml", "it tells no requests apart"),
    ("proxy --read-only --unix-socket s --port 9", "say where to listen once"),
    ("proxy --read-only --unix-socket s --port 9 --disable-filter", "say where to listen once"),
    ("proxy --read-only --api-prefix api", "a prefix begins with a slash"),
    ("proxy --read-only --www-prefix /a/./", "it tells no requests apart"),
    ("proxy --read-only --accept-hosts [", "is not a list of regular expressions"),
    ("proxy --read-only --reject-paths (", "is not a list of regular expressions"),
    ("dev --kubeconfig k", "say --pod FILE"),
    ("dev --kubeconfig k --pod p.yaml --manifests m.yaml", "--manifests and --write-kubeconfig are for a cluster"),
    ("dev x.wasm", "--pod <FILE>"),
];

#[test]
fn a_wrong_command_line_ends_with_2_whatever_it_names() {
    for (line, words) in WRONG {
        let ended = end(&mut command(line.split(' ')));
        assert_eq!(ended.code, Some(2), "attache {line}: {}", ended.err);
        assert!(ended.err.contains(words), "attache {line}: {words:?} is not in {}", ended.err);
    }
}

#[test]
fn a_variable_in_the_place_of_a_flag_is_judged_as_the_flag_is() {
    let ended = end(command(["run", "x.wasm"]).env("ATTACHE_LOG", "json"));
    assert_eq!(ended.code, Some(2), "{}", ended.err);
}
