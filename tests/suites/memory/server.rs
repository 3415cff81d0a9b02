//! An API server with prepared answers.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The prepared answers: a part of the request's target, and the body for it. The first part that fits is used.
pub(crate) type Answers = Vec<(&'static str, Vec<u8>)>;

/// Answers until it is dropped. Its answers are this process's memory, so they are made before it is measured.
pub(crate) struct Server {
    pub(crate) url: String,
    serving: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn saying(status: &'static str, answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answers = Arc::new(answers);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, status, Arc::clone(&answers)));
            }
        });
        Self { url, serving }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Serves one connection, one answer after another.
async fn serve(mut stream: TcpStream, status: &'static str, answers: Arc<Answers>) {
    let mut head = Vec::new();
    while let Ok(byte) = stream.read_u8().await {
        head.push(byte);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let target = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
        let body = answers.iter().find(|(part, _)| target.contains(part)).map(|(_, body)| body.as_slice());
        let body = body.unwrap_or_default();
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
        if stream.write_all(answer.as_bytes()).await.is_err() || stream.write_all(body).await.is_err() {
            return;
        }
        head.clear();
    }
}
