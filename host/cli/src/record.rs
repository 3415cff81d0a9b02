//! `--record FILE`: the grant that a run needed.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use attache::policy::Grant;
use attache::telemetry::{Audit, NoAudit, Recording};

use crate::surroundings::{POD_NAMESPACE, Variables};

/// The variable that names the pod, by the convention of the Kubernetes documentation.
const POD_NAME: &str = "POD_NAME";

/// A recording and the file that its draft goes to.
pub(crate) struct Record {
    path: PathBuf,
    /// Opened at the start: a wrong path is told before the run and not after it. What an earlier run wrote there stays
    /// until this one has a draft of its own.
    file: File,
    /// Set where no file of this name was there, so that a run that never begins leaves none behind.
    made: bool,
    recording: OnceLock<Arc<Recording>>,
    run: OnceLock<Run>,
}

/// What a run was judged by.
struct Run {
    given: Grant,
    variables: Vec<(&'static str, String)>,
}

impl Record {
    /// Opens the file, if one is asked for.
    pub(crate) fn begin(path: Option<&Path>) -> anyhow::Result<Option<Self>> {
        let Some(path) = path else { return Ok(None) };
        let made = !path.exists();
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let file = file.with_context(|| format!("cannot write the record {}", path.display()))?;
        Ok(Some(Self { path: path.to_owned(), file, made, recording: OnceLock::new(), run: OnceLock::new() }))
    }

    /// Records what `audit` is told.
    pub(crate) fn over(record: Option<&Self>, audit: Arc<dyn Audit>) -> Arc<dyn Audit> {
        match record {
            Some(record) => Arc::clone(record.recording.get_or_init(|| Arc::new(Recording::new(audit)))) as _,
            None => audit,
        }
    }

    /// Notes that the run begins: its grant, the pod's namespace and its variables.
    pub(crate) fn begins(&self, grant: &Grant, namespace: Option<&str>, variables: &Variables) {
        let namespace = namespace.map(|namespace| (POD_NAMESPACE, namespace.to_owned()));
        let name = variables.get(POD_NAME).map(|name| (POD_NAME, name.clone()));
        let _ = self.run.set(Run { given: grant.clone(), variables: namespace.into_iter().chain(name).collect() });
    }

    /// Writes the draft in place of what the file held. Of a run that never began there is none.
    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        let recording = self.recording.take().unwrap_or_else(|| Arc::new(Recording::new(Arc::new(NoAudit))));
        let Some(Run { given, variables }) = self.run.get() else { return Ok(()) };
        let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let draft = recording.draft(given, &variables).to_string();
        let written = self.replace(draft.as_bytes());
        written.with_context(|| format!("cannot write the record {}", self.path.display()))
    }

    /// A pipe or a terminal, as with `/dev/stdout`, has nothing to replace.
    fn replace(&self, draft: &[u8]) -> std::io::Result<()> {
        let mut file = &self.file;
        if file.metadata()?.is_file() {
            file.set_len(0)?;
        }
        file.write_all(draft)
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.made && self.run.get().is_none() {
            // An empty file that stays harms nobody.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
