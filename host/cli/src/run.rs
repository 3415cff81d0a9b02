//! `attache run`: runs a command component once, in this process's pod.

use anyhow::anyhow;
use attache::extension::{Extension, Invocation};

use crate::args;
use crate::audit;
use crate::engine;
use crate::exit::Exit;
use crate::grants;
use crate::guest_stderr;
use crate::metrics::Scraped;
use crate::record::Record;
use crate::signals::Signals;
use crate::surroundings::OUTSIDE;

pub(crate) async fn run(arguments: args::Run) -> anyhow::Result<Exit> {
    let mut signals = Signals::listen()?;
    let surroundings = arguments.pod.surroundings()?;
    let given = grants::read(arguments.grant.as_deref(), &arguments.component)?;
    let record = Record::begin(arguments.record.as_deref())?;
    let mut scraped = Scraped::listen(arguments.audit.metrics.as_ref()).await?;
    let audit = scraped.over(Record::over(record.as_ref(), audit::open(&arguments.audit.location)?));
    let surroundings = surroundings.audit(audit.clone());
    let runtime = engine::runtime(&arguments.artefacts)?.audit(audit);
    let starting = async {
        let grant = surroundings.resolve(given.clone()).map_err(|error| anyhow!("{error}. {OUTSIDE}"))?;
        let mut runtime = surroundings.furnish(runtime, &grant)?;
        if let Some(cluster) = surroundings.cluster(&grant).await? {
            scraped.watches(&cluster);
            runtime = runtime.cluster(cluster);
        }
        scraped.serve()?;
        anyhow::Ok(runtime.build()?.load_command_file(&arguments.component, grant).await?)
    };
    // The API server may be away, and compiling takes time.
    let extension = tokio::select! {
        started = starting => started?,
        exit = signals.arrive() => return Ok(exit),
    };
    if let Some(record) = &record {
        record.begins(&given, surroundings.namespace().as_deref(), surroundings.variables());
    }
    let exit = call(&extension, arguments, &mut signals).await;
    record.map_or(Ok(()), Record::end)?;
    Ok(exit)
}

/// Calls the extension, until it ends or a signal arrives.
async fn call(extension: &Extension, arguments: args::Run, signals: &mut Signals) -> Exit {
    let call = Invocation::new().args(arguments.arguments).inherit_stdout();
    let (mut call, passing) = guest_stderr::give(call, arguments.audit.location == audit::ON_STDERR);
    if arguments.stdin {
        call = call.stdin(wasmtime_wasi::cli::stdin());
    }
    let ended = tokio::select! {
        called = extension.run(call) => Ok(called),
        exit = signals.arrive() => Err(exit),
    };
    // The guest's last output comes before the host's report of its end.
    passing.end().await;
    ended.map_or_else(|exit| exit, Exit::of)
}
