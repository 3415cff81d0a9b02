//! Answers HTTP requests, each path in its own way: well, slowly, wrongly or without end.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use attache_guest::http::{Body, Request, Response, StatusCode};
use attache_guest::serve::Content;

/// Requests that this instance has answered.
static ANSWERED: AtomicU32 = AtomicU32::new(0);

fn answer(mut request: Request<Body>) -> Response<Content> {
    let answered = ANSWERED.fetch_add(1, Ordering::Relaxed) + 1;
    let path = request.uri().path().to_owned();
    match path.rsplit('/').next().unwrap_or_default() {
        "count" => Response::new(format!("{answered}\n").into()),
        "version" => Response::new(format!("{}\n", std::env::var("VERSION").unwrap_or_default()).into()),
        "echo" => {
            let body = request.into_body();
            Response::new(Content::stream(move |out| {
                let mut body = body;
                std::io::copy(&mut body, out).map(drop)
            }))
        }
        "length" => {
            let mut bytes = Vec::new();
            match request.body_mut().read_to_end(&mut bytes) {
                Ok(length) => Response::new(format!("{length}\n").into()),
                Err(error) => status(StatusCode::PAYLOAD_TOO_LARGE, &format!("{error}\n")),
            }
        }
        "endless" => Response::new(Content::stream(|out| {
            loop {
                out.write_all(&[b'x'; 4096])?;
            }
        })),
        "half" => Response::new(Content::stream(|out| {
            out.write_all(b"half")?;
            out.flush()?;
            panic!("in the middle of an answer");
        })),
        "wait" => {
            std::thread::sleep(Duration::from_hours(1));
            Response::new(().into())
        }
        "stall" => {
            println!("stalls");
            std::thread::sleep(Duration::from_hours(1));
            Response::new(().into())
        }
        "pause" => {
            println!("pauses");
            std::thread::sleep(Duration::from_millis(200));
            Response::new("rested\n".into())
        }
        "spin" => loop {
            std::hint::spin_loop();
        },
        "trap" => panic!("as asked"),
        "teapot" => status(StatusCode::IM_A_TEAPOT, "short and stout\n"),
        _ => Response::new("Hello from Attache\n".into()),
    }
}

fn status(status: StatusCode, words: &str) -> Response<Content> {
    let mut response = Response::new(words.into());
    *response.status_mut() = status;
    response
}

attache_guest::serve!(answer);
