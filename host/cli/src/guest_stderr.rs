//! The path from a guest's stderr to this process's stderr.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use attache::extension::{BufferedOutput, Invocation};
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::level_filters::LevelFilter;

use crate::stderr;

/// The bytes that are passed on together: a pipe takes them at once. A longer line is passed on in one piece.
const PIECE: usize = 4 << 10;

/// The time that the end of a call waits for the guest's last output. The rest is lost, and counted.
const LAST_OUTPUT: Duration = Duration::from_secs(1);

/// Passes on the output of a guest, until all writers of the stream are gone.
pub(crate) struct Passing {
    task: JoinHandle<()>,
    hurry: Arc<Notify>,
}

impl Passing {
    /// Waits a moment for the end of the output; the rest is only counted.
    pub(crate) async fn end(mut self) {
        if timeout(LAST_OUTPUT, &mut self.task).await.is_err() {
            self.hurry.notify_one();
            // The task only counts now. A writer that still holds the stream is not waited for.
            let _ = timeout(LAST_OUTPUT, self.task).await;
        }
    }
}

/// Gives a call its stderr; `audited` means that the audit is on this process's stderr too.
pub(crate) fn give(call: Invocation, audited: bool) -> (Invocation, Passing) {
    let alone = !audited && LevelFilter::current() == LevelFilter::OFF;
    let (ours, theirs) = duplex(PIECE);
    let hurry = Arc::<Notify>::default();
    let task = tokio::spawn(pass_on(ours, alone, Arc::clone(&hurry)));
    let stream = BufferedOutput::new(theirs).terminal(alone && io::stderr().is_terminal());
    let call = if alone { call.stderr(stream) } else { call.named_stderr(stream) };
    (call, Passing { task, hurry })
}

/// Returns a stream that many calls share, for lines of guests with their names.
pub(crate) fn shared() -> BufferedOutput {
    let (ours, theirs) = duplex(PIECE);
    tokio::spawn(pass_on(ours, false, Arc::default()));
    BufferedOutput::new(theirs)
}

/// Passes on bytes unchanged if `alone`, else in whole lines.
async fn pass_on(mut from: DuplexStream, alone: bool, hurry: Arc<Notify>) {
    let mut waiting = Vec::with_capacity(PIECE);
    let passed = tokio::select! {
        () = pass_on_lines(&mut from, alone, &mut waiting) => true,
        () = hurry.notified() => false,
    };
    if !passed {
        let mut lost = waiting.len();
        let mut piece = [0; PIECE];
        while let Ok(length @ 1..) = from.read(&mut piece).await {
            lost = lost.saturating_add(length);
        }
        stderr::lose(lost);
    }
}

async fn pass_on_lines(from: &mut DuplexStream, alone: bool, waiting: &mut Vec<u8>) {
    let mut piece = [0; PIECE];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        waiting.extend_from_slice(piece.get(..length).unwrap_or_default());
        let whole = if alone { waiting.len() } else { whole_lines(waiting) };
        if whole > 0 {
            stderr::pass_on(waiting, whole).await;
        }
    }
    if !waiting.is_empty() {
        stderr::pass_on(waiting, waiting.len()).await;
    }
}

/// Returns the number of these bytes that are whole lines.
fn whole_lines(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at.saturating_add(1))
}
