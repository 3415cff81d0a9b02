//! The files of the Downward API, and the pod spec's words for them.

use attache::podinfo::syntax::{Pairs, parse};
use attache::podinfo::{EnvField, Item, PodInfo};

use super::mutation::{Dice, Words};
use super::search::{assert_tellable, kind_of, search};

const SEEDS: &[&str] = &[
    "app=\"web\"\nzone=\"a\"",
    "",
    "a=\"\"\n",
    "build=\"two\\nlines\\tand \\\"quotes\\\" \\\\\"",
    "x/y.z=\"\\a\\b\\f\\r\\v\\x00\\xff\\u00e9\\U0001f980\\101\"",
    "z=\"last\"\na=\"first\"",
    "k=\"=\"",
];

const WORDS: Words = Words(&[
    "=",
    "\"",
    "=\"",
    "\"\n",
    "\n",
    "\\\\",
    "\\\"",
    "\\n",
    "\\x",
    "\\xff",
    "\\xc3\\xa9",
    "\\u",
    "\\ud800",
    "\\U00110000",
    "\\400",
    "\\377",
    "\\q",
    "\\",
    "a",
    "a=\"b\"",
    "app.kubernetes.io/name",
]);

#[test]
fn a_file_of_labels_reads_as_go_wrote_it() {
    search("podinfo::syntax::parse", SEEDS, &WORDS, |input, dice| {
        written_and_read(dice);
        match parse(input) {
            Ok(pairs) => {
                assert!(pairs.windows(2).all(|pair| pair[0].0 < pair[1].0), "sorted, none twice: {pairs:?}");
                assert_eq!(parse(written(&pairs).as_bytes()).as_ref(), Ok(&pairs));
                let values: usize = pairs.iter().map(|(_, value)| value.len()).sum();
                format!("{} of {}", pairs.len().min(8), values.min(64) / 8)
            }
            Err(error) => {
                assert_tellable(&error.to_string());
                assert!(error.line <= input.split(|byte| *byte == b'\n').count());
                kind_of(&error.to_string())
            }
        }
    });
}

/// Asserts that any pairs, written as the kubelet writes them, are read back unchanged.
fn written_and_read(dice: &mut Dice) {
    let letters = [
        'a',
        '"',
        '\\',
        '\n',
        '\r',
        '\0',
        '\u{7f}',
        '\u{ad}',
        '\u{e9}',
        '\u{2028}',
        '\u{fffd}',
        '\u{1f980}',
        '\u{10ffff}',
        '=',
    ];
    let text = |dice: &mut Dice| (0..dice.below(6)).map(|_| *dice.pick(&letters)).collect::<String>();
    let mut pairs: Pairs = (0..dice.below(4)).map(|at| (format!("k{at}"), text(dice))).collect();
    pairs.sort();
    assert_eq!(parse(written(&pairs).as_bytes()), Ok(pairs));
}

/// Returns `fmt.Sprintf("%s=%q")` of each pair, with the quotes of Go 1.24's `strconv.Quote`.
fn written(pairs: &Pairs) -> String {
    let lines: Vec<String> = pairs
        .iter()
        .map(|(key, value)| format!("{key}=\"{}\"", value.chars().map(quoted).collect::<String>()))
        .collect();
    lines.join("\n")
}

fn quoted(letter: char) -> String {
    match letter {
        '"' => "\\\"".into(),
        '\\' => "\\\\".into(),
        '\x07' => "\\a".into(),
        '\x08' => "\\b".into(),
        '\x0c' => "\\f".into(),
        '\n' => "\\n".into(),
        '\r' => "\\r".into(),
        '\t' => "\\t".into(),
        '\x0b' => "\\v".into(),
        letter if (letter as u32) < 0x20 || letter == '\x7f' => format!("\\x{:02x}", letter as u32),
        // The other characters that Go escapes depend on its Unicode tables. The reader accepts both forms.
        letter if (letter as u32) > 0xffff => format!("\\U{:08x}", letter as u32),
        letter if matches!(letter, '\u{ad}' | '\u{2028}') => format!("\\u{:04x}", letter as u32),
        letter => letter.to_string(),
    }
}

const SPECS: &[&str] = &[
    "- {path: labels, fieldRef: {fieldPath: metadata.labels, apiVersion: v1}, mode: 256}\n- {path: a/b, fieldRef: {fieldPath: \
     \"metadata.annotations['k']\"}}",
    "- {path: cpu, resourceFieldRef: {containerName: main, resource: requests.cpu, divisor: 1m}}",
    "- {name: A, valueFrom: {fieldRef: {fieldPath: status.podIPs}}}\n- {name: B, value: c}",
    "- {name: M, valueFrom: {resourceFieldRef: {resource: limits.hugepages-2Mi, divisor: 1Mi}}}",
];

const SPEC_WORDS: Words = Words(&[
    "- {",
    "}",
    "path: ",
    "name: ",
    "fieldRef: ",
    "fieldPath: ",
    "metadata.labels",
    "metadata.labels['",
    "']",
    "metadata.uid",
    "status.hostIPs",
    "resourceFieldRef: ",
    "containerName: ",
    "resource: ",
    "limits.cpu",
    "requests.memory",
    "hugepages-",
    "divisor: ",
    "1Gi",
    "1m",
    "0",
    "-1",
    "1e-3",
    "100ki",
    "mode: ",
    "0777",
    "../x",
    "..data",
    "/abs",
    "a//b",
    "\n",
    "&a ",
    "*a",
]);

#[test]
fn items_and_variables_of_a_pod_spec_are_taken_or_refused() {
    search("podinfo items and env", SPECS, &SPEC_WORDS, |input, _| {
        let text = String::from_utf8_lossy(input);
        let items = serde_saphyr::from_str::<Vec<Item>>(&text).map(|items| PodInfo::builder().items(items).build());
        let fields =
            serde_saphyr::from_str::<Vec<EnvField>>(&text).map(|fields| PodInfo::builder().env(fields).build());
        let mut kind = String::new();
        for built in [items.ok(), fields.ok()] {
            match built {
                None => kind.push('-'),
                Some(Ok(pod)) => {
                    kind.push('+');
                    let _ = (pod.identity(), pod.snapshot(), pod.label("a"), pod.files());
                }
                Some(Err(error)) => {
                    assert_tellable(&error.to_string());
                    kind += &kind_of(&error.to_string());
                }
            }
        }
        kind
    });
}
