//! Waits that something ends early: a change of the credentials, or a new follower.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::hub::Hub;
use super::store::Store;

/// The time after a change of the credentials in which other files of them may change: a token and a CA are written one
/// after the other.
const WRITTEN_WITHIN: Duration = Duration::from_millis(100);

/// Waits for this long, or until [`WRITTEN_WITHIN`] after a file of the credentials has changed.
pub(super) async fn until_changed(wait: Duration, changes: Option<&mut watch::Receiver<u64>>) {
    let changed = async {
        let Some(changes) = changes else { return std::future::pending().await };
        match changes.changed().await {
            Ok(()) => sleep(WRITTEN_WITHIN).await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = sleep(wait) => {}
        () = changed => {}
    }
}

/// Waits until the store has been without followers for `linger`, and takes it out of the hub.
pub(super) async fn deserted(hub: &Hub, store: &Arc<Store>, linger: Duration) {
    let mut followers = store.followers().subscribe();
    loop {
        let empty = followers.wait_for(|count| *count == 0).await.is_ok();
        let again = timeout(linger, followers.wait_for(|count| *count > 0)).await.is_ok();
        if empty && !again && hub.retire(store) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn a_change_of_the_credentials_ends_a_wait_and_nothing_else_does() {
        let (sender, mut changes) = watch::channel(0_u64);
        let began = Instant::now();
        until_changed(Duration::from_secs(10), Some(&mut changes)).await;
        assert_eq!(began.elapsed(), Duration::from_secs(10));
        let change = async {
            sleep(Duration::from_secs(1)).await;
            sender.send_replace(1);
        };
        tokio::join!(until_changed(Duration::from_secs(10), Some(&mut changes)), change);
        assert_eq!(began.elapsed(), Duration::from_secs(11) + WRITTEN_WITHIN);
        drop(sender);
        until_changed(Duration::from_secs(10), Some(&mut changes)).await;
        until_changed(Duration::from_secs(10), None).await;
        assert_eq!(began.elapsed(), Duration::from_secs(31) + WRITTEN_WITHIN);
    }
}
