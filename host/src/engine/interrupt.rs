//! What a guest does when an epoch has passed: it lets its neighbours go first.

use wasmtime::{Store, UpdateDeadline};

/// Makes a store's guest yield its thread at each epoch, about once a millisecond, for as long as it runs.
///
/// It yields as `tokio::task::yield_now` does: behind all tasks that are ready, and behind the driver of timers and
/// sockets. Were it only put back into the queue, a guest that spins would let the driver come to its turn at every
/// 61st epoch, and its neighbours' answers would lie there for as long.
pub fn yield_each_epoch<T: 'static>(store: &mut Store<T>) {
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|_| Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now()))));
}
