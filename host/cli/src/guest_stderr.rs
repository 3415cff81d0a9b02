//! A guest's stderr on its way to this process's.

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

/// How much is passed on together, in bytes: what a pipe takes at once. A line that is longer is passed on in one
/// piece.
const PIECE: usize = 4 << 10;

/// How long the end of a call waits for what the guest printed last. What is not passed on by then is lost, and
/// counted.
const LAST_OUTPUT: Duration = Duration::from_secs(1);

/// Passes on what a guest prints, until all that write to the stream are gone.
pub(crate) struct Passing {
    task: JoinHandle<()>,
    hurry: Arc<Notify>,
}

impl Passing {
    /// Waits for that, for a moment; then the rest is counted.
    pub(crate) async fn end(mut self) {
        if timeout(LAST_OUTPUT, &mut self.task).await.is_err() {
            self.hurry.notify_one();
            // It only counts now. Where somebody still writes to the stream, that is not waited for.
            let _ = timeout(LAST_OUTPUT, self.task).await;
        }
    }
}

/// Gives a call its stderr; `audited` says whether the audit is on this process's too.
pub(crate) fn give(call: Invocation, audited: bool) -> (Invocation, Passing) {
    let alone = !audited && LevelFilter::current() == LevelFilter::OFF;
    let (ours, theirs) = duplex(PIECE);
    let hurry = Arc::<Notify>::default();
    let task = tokio::spawn(pass_on(ours, alone, Arc::clone(&hurry)));
    let stream = BufferedOutput::new(theirs).terminal(alone && io::stderr().is_terminal());
    let call = if alone { call.stderr(stream) } else { call.named_stderr(stream) };
    (call, Passing { task, hurry })
}

/// A stream that many calls share, for lines of guests with their names.
pub(crate) fn shared() -> BufferedOutput {
    let (ours, theirs) = duplex(PIECE);
    tokio::spawn(pass_on(ours, false, Arc::default()));
    BufferedOutput::new(theirs)
}

/// `alone`: bytes are passed on as they are, else in whole lines.
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

/// How many of these bytes are whole lines.
fn whole_lines(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at.saturating_add(1))
}
