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

/// A recording and the file for its draft.
pub(crate) struct Record {
    path: PathBuf,
    /// The file, opened at the start so that a wrong path is reported before the run. The file keeps an earlier draft
    /// until this run has its own.
    file: File,
    /// Set if the file is new, so that a run that never starts leaves no file behind.
    made: bool,
    recording: OnceLock<Arc<Recording>>,
    run: OnceLock<Run>,
}

/// The inputs of a run's judgement.
struct Run {
    given: Grant,
    variables: Vec<(&'static str, String)>,
}

impl Record {
    /// Opens the file, if the command line names one.
    pub(crate) fn begin(path: Option<&Path>) -> anyhow::Result<Option<Self>> {
        let Some(path) = path else { return Ok(None) };
        let made = !path.exists();
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let file = file.with_context(|| format!("cannot write the record {}", path.display()))?;
        Ok(Some(Self { path: path.to_owned(), file, made, recording: OnceLock::new(), run: OnceLock::new() }))
    }

    /// Records all events that go to `audit`.
    pub(crate) fn over(record: Option<&Self>, audit: Arc<dyn Audit>) -> Arc<dyn Audit> {
        match record {
            Some(record) => Arc::clone(record.recording.get_or_init(|| Arc::new(Recording::new(audit)))) as _,
            None => audit,
        }
    }

    /// Stores the start of the run: its grant, the pod's namespace and its variables.
    pub(crate) fn begins(&self, grant: &Grant, namespace: Option<&str>, variables: &Variables) {
        let namespace = namespace.map(|namespace| (POD_NAMESPACE, namespace.to_owned()));
        let name = variables.get(POD_NAME).map(|name| (POD_NAME, name.clone()));
        let _ = self.run.set(Run { given: grant.clone(), variables: namespace.into_iter().chain(name).collect() });
    }

    /// Replaces the file's content with the draft. A run that never started has no draft.
    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        let recording = self.recording.take().unwrap_or_else(|| Arc::new(Recording::new(Arc::new(NoAudit))));
        let Some(Run { given, variables }) = self.run.get() else { return Ok(()) };
        let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let draft = recording.draft(given, &variables).to_string();
        let written = self.replace(draft.as_bytes());
        written.with_context(|| format!("cannot write the record {}", self.path.display()))
    }

    /// Replaces the file's content. A pipe or a terminal, as with `/dev/stdout`, has no content to replace.
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
            // An empty file that stays is harmless.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
