//! `attache run`: a command component, once, in the pod that this is.

use attache::extension::Invocation;

use crate::api_server::Asker;
use crate::args;
use crate::exit::Exit;
use crate::guest_stderr;
use crate::metrics::Scraped;
use crate::record::Record;
use crate::settings;
use crate::signals::Signals;

pub(crate) async fn run(arguments: args::Run) -> anyhow::Result<Exit> {
    let mut signals = Signals::listen()?;
    let variables = settings::variables();
    let grant = settings::grant(arguments.grant.as_deref(), &arguments.component)?;
    let record = Record::begin(arguments.record.as_deref())?;
    let mut scraped = Scraped::listen(arguments.audit.metrics.as_ref()).await?;
    let audit = scraped.over(Record::over(record.as_ref(), settings::audit(&arguments.audit.place)?));
    let runtime = settings::runtime(&arguments.artefacts)?.audit(audit.clone()).variables(variables.clone());
    let given = grant.clone();
    let starting = async {
        let (runtime, grant) =
            settings::in_pod(runtime, &arguments.pod, grant, &variables, &audit, &mut scraped).await?;
        scraped.serve()?;
        anyhow::Ok(runtime.build()?.load_command_file(&arguments.component, grant).await?)
    };
    // The API server may be away, and compiling takes its time.
    let extension = tokio::select! {
        started = starting => started?,
        exit = signals.arrive() => return Ok(exit),
    };
    if let Some(record) = &record {
        let namespace = Asker::of(&arguments.pod.server, &variables)?.namespace(&variables);
        record.begins(&given, namespace.as_deref(), &variables);
    }
    let call = Invocation::new().args(arguments.arguments).inherit_stdout();
    let (mut call, passing) = guest_stderr::give(call, arguments.audit.place == settings::ON_STDERR);
    if arguments.stdin {
        call = call.stdin(wasmtime_wasi::cli::stdin());
    }
    let ended = tokio::select! {
        called = extension.run(call) => Ok(called),
        exit = signals.arrive() => Err(exit),
    };
    // What the guest said last comes before what the host says of its end.
    passing.end().await;
    let exit = ended.map_or_else(|exit| exit, Exit::of);
    record.map_or(Ok(()), Record::end)?;
    Ok(exit)
}
