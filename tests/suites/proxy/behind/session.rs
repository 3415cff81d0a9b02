//! The sessions of pods: `exec`, `attach` and `portforward`, by WebSocket and by SPDY. Commands run on this machine,
//! and ports are this machine's.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::mpsc;

use super::spdy::{self, Frame, Replies};
use super::websocket::{self, BINARY, CLOSE};
use super::{Stream, header, send, websocket_head};

const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;

/// The channel of `v5.channel.k8s.io` on which a client closes another channel.
const CLOSED: u8 = 255;

/// The most of one piece, in bytes.
const PIECE: usize = 16 << 10;

/// The input and output of a command's session.
struct Session {
    command: Vec<String>,
    stdin: mpsc::Receiver<Vec<u8>>,
    out: mpsc::Sender<(u8, Vec<u8>)>,
}

/// Answers a request for a session.
pub(crate) async fn serve(head: String, mut stream: Stream) {
    let (path, query) = head.split(' ').nth(1).unwrap().split_once('?').unwrap_or_default();
    let path = if path.is_empty() { head.split(' ').nth(1).unwrap() } else { path };
    let query: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let command: Vec<_> = query.iter().filter(|(name, _)| name == "command").map(|(_, value)| value.clone()).collect();
    let command = if path.ends_with("/attach") { vec!["echo".into(), "attached".into()] } else { command };
    let forwards = path.ends_with("/portforward");
    if header(&head, "upgrade").is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket")) {
        let offered = header(&head, "sec-websocket-protocol").unwrap();
        let taken = offered.split(',').next().unwrap().trim();
        send(&mut stream, &websocket_head(&head, Some(taken))).await;
        return if forwards { forward(unwrapped(stream)).await } else { by_websocket(stream, command).await };
    }
    let offered = header(&head, "x-stream-protocol-version").unwrap();
    send(
        &mut stream,
        &format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
             X-Stream-Protocol-Version: {offered}\r\n\r\n"
        ),
    )
    .await;
    if forwards {
        return forward(stream).await;
    }
    let streams = ["stdin", "stdout", "stderr"].into_iter().filter(|name| {
        path.ends_with("/attach") && *name != "stdin"
            || query.iter().any(|(known, value)| known == name && value == "true")
    });
    by_spdy(stream, command, 1 + streams.count()).await;
}

async fn by_websocket(stream: Stream, command: Vec<String>) {
    let (mut messages, frames) = websocket::split(stream);
    let (stdin, session_stdin) = mpsc::channel(16);
    let (out, mut pieces) = mpsc::channel::<(u8, Vec<u8>)>(16);
    tokio::spawn(async move {
        let mut stdin = Some(stdin);
        while let Some(message) = messages.message().await {
            match (message.split_first(), &stdin) {
                (Some((0, bytes)), Some(stdin)) => drop(stdin.send(bytes.to_vec()).await),
                (Some((&CLOSED, [0])), _) => stdin = None,
                _ => {}
            }
        }
    });
    let running = tokio::spawn(Session { command, stdin: session_stdin, out }.run());
    while let Some((channel, bytes)) = pieces.recv().await {
        let message = [&[channel][..], &bytes].concat();
        let _ = frames.send(websocket::frame(BINARY, &message)).await;
    }
    running.await.unwrap();
    let _ = frames.send(websocket::frame(CLOSE, &1000_u16.to_be_bytes())).await;
}

async fn by_spdy(stream: Stream, command: Vec<String>, streams: usize) {
    let (read, write) = tokio::io::split(stream);
    let (frames, sent) = mpsc::channel(16);
    tokio::spawn(websocket::write_all(write, sent));
    let (mut reader, mut replies) = (spdy::Reader::new(read), Replies::default());
    let mut ids = HashMap::new();
    while ids.len() < streams {
        match reader.frame().await {
            Some(Frame::Open { id, headers }) => {
                ids.insert(headers["streamtype"].clone(), id);
                let _ = frames.send(replies.reply(id)).await;
            }
            Some(Frame::Ping(answer)) => drop(frames.send(answer).await),
            Some(_) => {}
            None => return,
        }
    }
    let (stdin, session_stdin) = mpsc::channel(16);
    let (out, mut pieces) = mpsc::channel::<(u8, Vec<u8>)>(16);
    let (stdin_id, pongs) = (ids.get("stdin").copied(), frames.clone());
    tokio::spawn(async move {
        let mut stdin = Some(stdin).filter(|_| stdin_id.is_some());
        while let Some(frame) = reader.frame().await {
            match (frame, &stdin) {
                (Frame::Data { id, bytes, last }, Some(open)) if Some(id) == stdin_id => {
                    let _ = open.send(bytes).await;
                    stdin = stdin.filter(|_| !last);
                }
                (Frame::Ping(answer), _) => drop(pongs.send(answer).await),
                _ => {}
            }
        }
    });
    let running = tokio::spawn(Session { command, stdin: session_stdin, out }.run());
    let id = |channel| ids.get(["stdin", "stdout", "stderr", "error"][usize::from(channel)]);
    while let Some((channel, bytes)) = pieces.recv().await {
        if let Some(id) = id(channel) {
            let _ = frames.send(spdy::data(*id, &bytes, false)).await;
        }
    }
    running.await.unwrap();
    for id in [STDOUT, STDERR, ERROR].into_iter().filter_map(id) {
        let _ = frames.send(spdy::data(*id, &[], true)).await;
    }
}

impl Session {
    /// Runs the command to its end, and sends its result.
    async fn run(self) {
        let Self { command, mut stdin, out } = self;
        let mut process = Command::new(&command[0]);
        process.args(&command[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = process.kill_on_drop(true).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let feeding = tokio::spawn(async move {
            while let Some(bytes) = stdin.recv().await {
                if input.write_all(&bytes).await.is_err() || input.flush().await.is_err() {
                    return;
                }
            }
        });
        let (output, errors) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        tokio::join!(pieces(output, STDOUT, &out), pieces(errors, STDERR, &out));
        let status = status(child.wait().await.unwrap().code());
        feeding.abort();
        let _ = out.send((ERROR, status.to_string().into_bytes())).await;
    }
}

async fn pieces(mut from: impl AsyncRead + Unpin, channel: u8, out: &mpsc::Sender<(u8, Vec<u8>)>) {
    let mut piece = vec![0; PIECE];
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        if out.send((channel, piece[..read].to_vec())).await.is_err() {
            return;
        }
    }
}

fn status(code: Option<i32>) -> Value {
    let Some(code @ 1..) = code else { return json!({"metadata": {}, "status": "Success"}) };
    let causes = [json!({"reason": "ExitCode", "message": code.to_string()})];
    json!({"metadata": {}, "status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes},
        "message": format!("command terminated with non-zero exit code: exit code {code}")})
}

/// Returns the bytes that are in the messages of a WebSocket.
fn unwrapped(stream: Stream) -> Stream {
    let (ours, theirs) = tokio::io::duplex(PIECE);
    let (mut messages, frames) = websocket::split(stream);
    let (mut read, mut write): (_, tokio::io::WriteHalf<DuplexStream>) = tokio::io::split(ours);
    tokio::spawn(async move {
        while let Some(message) = messages.message().await {
            if write.write_all(&message).await.is_err() {
                return;
            }
        }
        let _ = write.shutdown().await;
    });
    tokio::spawn(async move {
        let mut piece = vec![0; PIECE];
        while let Ok(read @ 1..) = read.read(&mut piece).await {
            if frames.send(websocket::frame(BINARY, &piece[..read])).await.is_err() {
                return;
            }
        }
        let _ = frames.send(websocket::frame(CLOSE, &1000_u16.to_be_bytes())).await;
    });
    Box::new(theirs)
}

/// Connects each pair of streams that a client opens to the port that it names.
async fn forward(stream: Stream) {
    let (read, write) = tokio::io::split(stream);
    let (frames, sent) = mpsc::channel(16);
    tokio::spawn(websocket::write_all(write, sent));
    let (mut reader, mut replies) = (spdy::Reader::new(read), Replies::default());
    let errors = Arc::new(Mutex::new(HashMap::new()));
    let mut connections = HashMap::new();
    while let Some(frame) = reader.frame().await {
        match frame {
            Frame::Open { id, headers } => {
                let _ = frames.send(replies.reply(id)).await;
                let request = headers["requestid"].clone();
                if headers["streamtype"] == "error" {
                    errors.lock().unwrap().insert(request, id);
                    continue;
                }
                let (pieces, given) = mpsc::channel(16);
                connections.insert(id, pieces);
                let error = errors.lock().unwrap()[&request];
                let port = headers["port"].parse().unwrap();
                tokio::spawn(connect(port, given, (id, error), frames.clone()));
            }
            Frame::Data { id, bytes, last } => {
                if let Some(pieces) = connections.get(&id) {
                    let _ = pieces.send(bytes).await;
                }
                if last {
                    connections.remove(&id);
                }
            }
            Frame::Ping(answer) => drop(frames.send(answer).await),
            Frame::Other => {}
        }
    }
}

/// Passes on what goes to a port and what comes back.
async fn connect(port: u16, mut given: mpsc::Receiver<Vec<u8>>, ids: (u32, u32), frames: mpsc::Sender<Vec<u8>>) {
    let (data, error) = ids;
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let giving = async {
        while let Some(bytes) = given.recv().await {
            write.write_all(&bytes).await.unwrap();
        }
        let _ = write.shutdown().await;
    };
    let taking = async {
        let mut piece = vec![0; PIECE];
        while let Ok(read @ 1..) = read.read(&mut piece).await {
            let _ = frames.send(spdy::data(data, &piece[..read], false)).await;
        }
        let _ = frames.send(spdy::data(data, &[], true)).await;
        let _ = frames.send(spdy::data(error, &[], true)).await;
    };
    tokio::join!(giving, taking);
}
