//! The first request to the API server, and the wait for a server that is away.

use std::time::Duration;

use attache::cluster::{ApiClient, ApiClientSettings, ClusterError, Unavailable};
use attache::telemetry::chain;
use tokio::time::{Instant, sleep, timeout};

/// The wait for the API server's first answer. After it, the silence is logged, and a proxy starts to serve.
const WAITED_FOR: Duration = Duration::from_secs(5);

/// The first pause between two tries, and the longest one: a refused connection costs little.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Connects like [`reach`], for a process that serves as long as its pod lives. An absent server may come back, so its
/// absence is only logged.
pub(crate) async fn reach_in_time(settings: ApiClientSettings) -> anyhow::Result<ApiClient> {
    let cluster = ApiClient::connect(settings)?;
    match timeout(WAITED_FOR, ask(&cluster)).await {
        Ok(Err(error)) if !may_pass(&error) => return Err(unusable(&cluster, error)),
        Ok(Err(error)) => tracing::warn!("{:#}; it is asked again with the first request", unusable(&cluster, error)),
        Err(_) => tracing::warn!("the API server at {} is silent so far", cluster.endpoint()),
        Ok(Ok(())) => {}
    }
    Ok(cluster)
}

/// Connects, and sends the first request of every client, so that a wrong address, CA or token is an error here and not
/// at the guest's first call. The connection to an absent server is retried until `wait` has passed.
pub(crate) async fn reach(settings: ApiClientSettings, wait: Duration) -> anyhow::Result<ApiClient> {
    let cluster = ApiClient::connect(settings)?;
    let began = Instant::now();
    let mut pause = PAUSE;
    loop {
        let left = wait.saturating_sub(began.elapsed());
        let error = match aloud(&cluster, ask_within(&cluster, left, wait)).await {
            Ok(()) => return Ok(cluster),
            Err(error) => error,
        };
        if !may_pass(&error) || left.is_zero() {
            return Err(unusable(&cluster, error));
        }
        if pause == PAUSE {
            tracing::warn!(error = %chain(&error), "the API server at {} is waited for", cluster.endpoint());
        }
        // The last try is at the end of the wait.
        sleep(pause.min(wait.saturating_sub(began.elapsed()))).await;
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
}

/// Waits for an answer, and logs a long wait, so that a user does not sit before a silent terminal.
async fn aloud<T>(cluster: &ApiClient, answer: impl Future<Output = T>) -> T {
    let mut answer = std::pin::pin!(answer);
    if let Ok(answer) = timeout(WAITED_FOR, answer.as_mut()).await {
        return answer;
    }
    tracing::warn!("the API server at {} is silent so far", cluster.endpoint());
    answer.await
}

/// The time for the last try, at the end of a wait.
const LAST_TRY: Duration = Duration::from_millis(500);

/// Sends one request. If there is a wait, the answer must arrive within `left` of it.
async fn ask_within(cluster: &ApiClient, left: Duration, wait: Duration) -> Result<(), ClusterError> {
    if wait.is_zero() {
        return ask(cluster).await;
    }
    let late = |_| Unavailable::Deadline { address: cluster.endpoint().address(), step: "answer", after: wait };
    timeout(left.max(LAST_TRY), ask(cluster)).await.map_err(late)?
}

/// Requests discovery. A refusal is no error: the account may have other rights.
async fn ask(cluster: &ApiClient) -> Result<(), ClusterError> {
    match cluster.discovery().await {
        Err(ClusterError::Refused(status)) if status.code != 401 => Ok(()),
        asked => asked.map(drop),
    }
}

fn unusable(cluster: &ApiClient, error: ClusterError) -> anyhow::Error {
    anyhow::Error::new(error).context(format!("cannot use the API server at {}", cluster.endpoint()))
}

/// Returns whether an error is temporary: the network or the server caused it, and not this host's configuration.
pub(crate) fn may_pass(error: &ClusterError) -> bool {
    match error {
        ClusterError::Unavailable(why) => !matches!(
            why,
            Unavailable::Certificate { .. }
                | Unavailable::Unshown { .. }
                | Unavailable::Credentials(_)
                | Unavailable::Tls { .. }
        ),
        other => matches!(other, ClusterError::Discovery { .. }),
    }
}
