//! Follows collections as its arguments say, and prints each event as one line of JSON.
//!
//! ```text
//! watch-calls events TYPE NAMESPACE LABELS FIELDS N      N events, each as {EVENT: NAME}
//! watch-calls picture TYPE NAMESPACE LABELS FIELDS NAME  keeps a picture until NAME is in it, then prints it
//! watch-calls slow TYPE NAMESPACE MILLIS NAME            reads until synced, sleeps, then as `picture`
//! watch-calls copy TYPE NAMESPACE NAME…                  each object of the host's copy, then the names of its list
//! watch-calls open TYPE NAMESPACE N                      opens N watches together; the outcome of each
//! ```
//!
//! EVENT is `resync`, `synced`, `applied` or `deleted`. TYPE is `group/version/plural` or `version/plural`. NAMESPACE
//! `-` means all of them, and LABELS and FIELDS `-` none.
//! Of a config map in a picture, `data.value` is what is kept.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use attache_guest::api::{Collection, Error, Event, ResourceType, Selector, Watch};
use attache_test_guests::print;
use serde_json::{Value, json};

type Outcome = Result<(), Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match call(&words) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            print(Err(error));
            ExitCode::SUCCESS
        }
        Err(text) => {
            eprintln!("watch-calls: {text}");
            ExitCode::FAILURE
        }
    }
}

fn call(words: &[&str]) -> Result<Outcome, String> {
    Ok(match words {
        ["events", of, namespace, labels, fields, number] => {
            let number = number.parse().map_err(|_| "how many events?")?;
            follow(&kind(of)?, namespace, labels, fields).and_then(|watch| events(watch, number))
        }
        ["picture", of, namespace, labels, fields, name] => {
            follow(&kind(of)?, namespace, labels, fields).and_then(|watch| picture(watch, name))
        }
        ["slow", of, namespace, millis, name] => {
            let pause = Duration::from_millis(millis.parse().map_err(|_| "how long?")?);
            follow(&kind(of)?, namespace, "-", "-").and_then(|watch| slow(watch, pause, name))
        }
        ["copy", of, namespace, names @ ..] => copy(&kind(of)?, namespace, names),
        ["open", of, namespace, number] => {
            let number = number.parse().map_err(|_| "how many watches?")?;
            open_many(&kind(of)?, namespace, number)
        }
        _ => return Err(format!("no such call: {words:?}")),
    })
}

fn kind(text: &str) -> Result<ResourceType, String> {
    text.parse().map_err(|error| format!("{error}"))
}

fn open(of: &ResourceType, namespace: &str) -> Result<Collection, Error> {
    match namespace {
        "-" => Collection::all(of),
        name => Collection::namespaced(of, name),
    }
}

fn follow(of: &ResourceType, namespace: &str, labels: &str, fields: &str) -> Result<Watch<Value>, Error> {
    let given = |text: &str| if text == "-" { String::new() } else { text.to_owned() };
    open(of, namespace)?.watch(&Selector::labels(given(labels)).fields(given(fields)))
}

fn events(watch: Watch<Value>, number: usize) -> Outcome {
    for event in watch.take(number) {
        let line = match event? {
            Event::Resync => json!({ "resync": null }),
            Event::Synced => json!({ "synced": null }),
            Event::Applied(object) => json!({ "applied": object["metadata"]["name"], "kind": object["kind"] }),
            Event::Deleted(object) => json!({ "deleted": object["metadata"]["name"], "kind": object["kind"] }),
        };
        println!("{line}");
    }
    Ok(())
}

/// The collected events of a watch.
#[derive(Default)]
struct Picture {
    values: BTreeMap<String, Value>,
    events: u64,
    resyncs: u64,
    whole: bool,
}

impl Picture {
    fn take(&mut self, event: Event<Value>) {
        let name = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        self.events += 1;
        match event {
            Event::Resync => {
                self.values.clear();
                self.resyncs += 1;
                self.whole = false;
            }
            Event::Synced => self.whole = true,
            Event::Applied(object) => drop(self.values.insert(name(&object), object["data"]["value"].clone())),
            Event::Deleted(object) => drop(self.values.remove(&name(&object))),
        }
    }

    fn print(&self) {
        print(Ok(json!({ "values": self.values, "events": self.events, "resyncs": self.resyncs })));
    }
}

fn picture(watch: Watch<Value>, last: &str) -> Outcome {
    let mut picture = Picture::default();
    for event in watch {
        picture.take(event?);
        if picture.whole && picture.values.contains_key(last) {
            picture.print();
            break;
        }
    }
    Ok(())
}

fn slow(mut watch: Watch<Value>, pause: Duration, last: &str) -> Outcome {
    let mut picture = Picture::default();
    while !picture.whole {
        if let Some(event) = watch.next() {
            picture.take(event?);
        }
    }
    print(Ok(json!("whole")));
    std::thread::sleep(pause);
    while !(picture.whole && picture.values.contains_key(last)) {
        if let Some(event) = watch.next() {
            picture.take(event?);
        }
    }
    picture.print();
    Ok(())
}

fn copy(of: &ResourceType, namespace: &str, names: &[&str]) -> Outcome {
    let watch = open(of, namespace)?.watch::<Value>(&Selector::all())?;
    for name in names {
        print(match name.split_once('/') {
            Some((namespace, name)) => watch.get_in(namespace, name),
            None => watch.get(name),
        });
    }
    let (mut listed, mut cursor) = (Vec::new(), None);
    loop {
        let (page, next) = watch.list(2, cursor.as_deref())?;
        listed.push(page.items.iter().map(|object| object["metadata"]["name"].clone()).collect::<Value>());
        if next.is_none() {
            print(Ok(Value::Array(listed)));
            return Ok(());
        }
        cursor = next;
    }
}

fn open_many(of: &ResourceType, namespace: &str, number: usize) -> Outcome {
    let collection = open(of, namespace)?;
    let mut watches = Vec::new();
    for _ in 0..number {
        let opened = collection.watch::<Value>(&Selector::all());
        print(opened.map(|watch| {
            watches.push(watch);
            Value::Null
        }));
    }
    Ok(())
}
