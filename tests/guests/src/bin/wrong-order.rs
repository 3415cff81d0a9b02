//! Drops handles in an order that the interfaces forbid, `wrong-order WHAT`: a parent while its child lives.
//!
//! ```text
//! wrong-order follower      a follower before its pollable
//! wrong-order stream        a stream before its pollable
//! wrong-order waiting       the pollable of a follower that is gone is waited for
//! wrong-order watch         a watch before its pollable
//! wrong-order upload        the body of a request before the stream into it
//! wrong-order answer        the body of an answer before the stream out of it
//! wrong-order future        an answer that is to come before its pollable
//! wrong-order collection    a collection before its watch, which it may
//! wrong-order request       a request before its body, which it may
//! ```

#![allow(clippy::expect_used, reason = "an attack that cannot go on may trap")]

use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{Fields, FutureIncomingResponse, OutgoingRequest, Scheme};

use raw::attache::pod::{api, metadata};
use raw::wasi::cli::stdout;

#[path = "../raw.rs"]
mod raw;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("follower") => {
            let follower = metadata::follow();
            let pollable = follower.subscribe();
            drop(follower);
            drop(pollable);
        }
        Some("stream") => {
            let stream = stdout::get_stdout();
            let pollable = stream.subscribe();
            drop(stream);
            drop(pollable);
        }
        Some("waiting") => {
            let follower = metadata::follow();
            let pollable = follower.subscribe();
            drop(follower);
            pollable.block();
        }
        Some("watch") => {
            let watch = watch().1;
            let pollable = watch.subscribe();
            drop(watch);
            drop(pollable);
        }
        Some("collection") => {
            let (collection, watch) = watch();
            drop(collection);
            drop(watch.subscribe());
        }
        Some("upload") => {
            let body = request().body().expect("a body");
            let stream = body.write().expect("a stream");
            drop(body);
            drop(stream);
        }
        Some("request") => {
            let request = request();
            let body = request.body().expect("a body");
            drop(request);
            drop(body.write().expect("a stream"));
            drop(body);
        }
        Some("answer") => {
            let future = asked();
            future.subscribe().block();
            let answer = future.get().expect("it is there").expect("once").expect("an answer");
            let body = answer.consume().expect("a body");
            let stream = body.stream().expect("a stream");
            drop(body);
            drop(stream);
        }
        Some("future") => {
            let future = asked();
            let pollable = future.subscribe();
            drop(future);
            drop(pollable);
        }
        _ => {}
    }
    println!("nothing happened");
}

fn watch() -> (api::Collection, api::Watch) {
    let pods = api::ResourceType { group: String::new(), version: "v1".into(), plural: "pods".into() };
    let collection = api::open(&pods, Some("demo")).expect("the grant opens pods");
    let all = api::Selector { labels: String::new(), fields: String::new() };
    let watch = collection.watch(&all).expect("the grant opens a watch");
    (collection, watch)
}

fn request() -> OutgoingRequest {
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Https)).expect("a scheme");
    request.set_authority(Some("kubernetes")).expect("an authority");
    request.set_path_with_query(Some("/api/v1/namespaces/demo/pods/a")).expect("a path");
    request
}

fn asked() -> FutureIncomingResponse {
    handle(request(), None).expect("the request is sent")
}
