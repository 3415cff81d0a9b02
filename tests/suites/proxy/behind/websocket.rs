//! The server's side of WebSocket (RFC 6455), as far as clients of Kubernetes use it.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf};
use tokio::sync::mpsc;

use super::Stream;

pub(super) const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Reads messages, and answers pings.
pub(super) struct Reader {
    stream: ReadHalf<Stream>,
    out: mpsc::Sender<Vec<u8>>,
}

/// Returns both directions: messages to read, and frames to send.
pub(super) fn split(stream: Stream) -> (Reader, mpsc::Sender<Vec<u8>>) {
    let (read, write) = tokio::io::split(stream);
    let (out, frames) = mpsc::channel(16);
    tokio::spawn(write_all(write, frames));
    (Reader { stream: read, out: out.clone() }, out)
}

/// Sends pieces until all senders are dropped.
pub(super) async fn write_all(mut stream: impl AsyncWrite + Unpin, mut pieces: mpsc::Receiver<Vec<u8>>) {
    while let Some(piece) = pieces.recv().await {
        if stream.write_all(&piece).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
    let _ = stream.shutdown().await;
}

impl Reader {
    /// Returns the next binary message, or `None` at the end.
    pub(super) async fn message(&mut self) -> Option<Vec<u8>> {
        let mut message = Vec::new();
        loop {
            let (last, code, bytes) = read_frame(&mut self.stream).await?;
            match code {
                CLOSE => return None,
                PING => self.out.send(frame(PONG, &bytes)).await.ok()?,
                PONG => {}
                _ => {
                    message.extend(bytes);
                    if last {
                        return Some(message);
                    }
                }
            }
        }
    }
}

async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> Option<(bool, u8, Vec<u8>)> {
    let first = stream.read_u8().await.ok()?;
    let length = stream.read_u8().await.ok()?;
    assert!(length & 0x80 != 0, "a client masks what it sends");
    let length = match length & 0x7f {
        126 => u64::from(stream.read_u16().await.ok()?),
        127 => stream.read_u64().await.ok()?,
        short => u64::from(short),
    };
    let mut mask = [0; 4];
    stream.read_exact(&mut mask).await.ok()?;
    let mut bytes = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut bytes).await.ok()?;
    bytes.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    Some((first & 0x80 != 0, first & 0x0f, bytes))
}

/// Returns a whole message, or a control frame.
pub(super) fn frame(code: u8, bytes: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | code];
    match (u8::try_from(bytes.len()), u16::try_from(bytes.len())) {
        (Ok(short @ 0..126), _) => frame.push(short),
        (_, Ok(long)) => {
            frame.push(126);
            frame.extend(long.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend((bytes.len() as u64).to_be_bytes());
        }
    }
    frame.extend(bytes);
    frame
}
