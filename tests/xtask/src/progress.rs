//! The progress that a person sees during a long step.

use std::time::Duration;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

/// The interval of the spinner's frames: smooth to the eye, and cheap for the processor.
const TURN: Duration = Duration::from_millis(100);

/// Runs the work with a spinner beside its name and its newest line. If stderr is no terminal, only the name is
/// printed, once.
pub(crate) fn during<T>(name: &str, work: impl FnOnce(&mut dyn FnMut(&str)) -> Result<T>) -> Result<T> {
    let spinner = ProgressBar::new_spinner().with_style(style()).with_prefix(name.to_owned());
    if spinner.is_hidden() {
        eprintln!("{name} …");
    }
    spinner.enable_steady_tick(TURN);
    let outcome = work(&mut |line| spinner.set_message(line.to_owned()));
    spinner.finish_and_clear();
    outcome
}

fn style() -> ProgressStyle {
    // A template that is not valid would be a mistake in this line. Then the plain spinner is used.
    ProgressStyle::with_template("{spinner} {prefix} ({elapsed})  {wide_msg:.dim}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}
