//! The demo: an extension in a pod, and the pod changing under it. It ends by itself.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use attache_built::guests::{self, Guests};
use attache_built::programs::Programs;

/// The pod that the extension runs in, and what else the cluster has, below the workspace.
const POD: &str = "tests/manifests/demo/pod.yaml";
const MANIFESTS: [&str; 2] = ["tests/manifests/demo/access.yaml", "tests/manifests/demo/workloads.yaml"];
const POD_NAME: &str = "kubernetes-downwardapi-volume-example";

/// The label that is changed: the pod has `rack-22`.
const CHANGE: &str = "rack=rack-23";

/// Longest time for the second act: starting a devcluster, compiling a guest and seeing one change take seconds.
const PATIENCE: Duration = Duration::from_mins(1);

/// Plays the demo.
pub(crate) fn run(guests: &Guests, programs: &Programs) -> Result<()> {
    let stage = Stage::set(guests, programs)?;

    println!("── 1. An extension sees its pod and its namespace ──\n");
    let mut card = stage.attache_dev(&stage.card, &[]);
    say(&card);
    let status = card.status().context("cannot start attache")?;
    ensure!(status.success(), "attache dev ended with {status}");

    println!("\n── 2. The pod changes, and the extension is told ──\n");
    stage.follow()?;

    stage.say_what_to_try();
    Ok(())
}

/// Everything that has to be there before the curtain rises.
struct Stage {
    attache: PathBuf,
    label_pod: PathBuf,
    card: PathBuf,
    follower: PathBuf,
    kubeconfig: PathBuf,
}

impl Stage {
    fn set(guests: &Guests, programs: &Programs) -> Result<Self> {
        Ok(Self {
            attache: programs.attache(),
            label_pod: programs.label_pod(),
            card: guests.path("pod-card")?,
            follower: guests.path("follow-labels")?,
            kubeconfig: programs.folder().join("demo.kubeconfig"),
        })
    }

    /// Returns the command `attache dev` for one guest. Only this function knows the flags of `attache dev`.
    fn attache_dev(&self, guest: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.attache);
        command.current_dir(guests::workspace());
        command.args(["dev", "--pod", POD]);
        for manifest in MANIFESTS {
            command.args(["--manifests", manifest]);
        }
        command.arg("--write-kubeconfig").arg(&self.kubeconfig);
        command.arg(guest);
        if !arguments.is_empty() {
            command.arg("--").args(arguments);
        }
        command
    }

    /// Replaces `kubectl label --overwrite` on machines without kubectl.
    fn label(&self, change: &str) -> Result<()> {
        println!("$ kubectl label --overwrite pod {POD_NAME} {change}");
        let mut command = Command::new(&self.label_pod);
        command.arg(&self.kubeconfig).args(["default", POD_NAME, change]);
        guests::watch(&mut command, |_| ())
    }

    /// Starts the follower, changes a label once it has printed the first snapshot, and waits for it to print the
    /// second, after which it ends.
    fn follow(&self) -> Result<()> {
        let mut command = self.attache_dev(&self.follower, &["--count", "2"]);
        say(&command);
        let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start attache")?;
        let outcome = self.tell(&lines(&mut child));
        if outcome.is_err() {
            child.kill().context("cannot stop attache")?;
        }
        let status = child.wait()?;
        outcome?;
        ensure!(status.success(), "attache dev ended with {status}");
        Ok(())
    }

    fn tell(&self, lines: &Receiver<String>) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        let mut snapshots = 0;
        while let Some(line) = next(lines, end)? {
            println!("{line}");
            // The follower ends each snapshot with a blank line.
            snapshots += usize::from(line.is_empty());
            if line.is_empty() && snapshots == 1 {
                self.label(CHANGE)?;
            }
        }
        ensure!(snapshots == 2, "{snapshots} snapshots were printed, not 2");
        Ok(())
    }

    fn say_what_to_try(&self) {
        let attache = relative(&self.attache);
        let guest = relative(&self.follower);
        let kubeconfig = relative(&self.kubeconfig);
        let [access, _] = MANIFESTS;
        println!(
            "\n── Try next ──

Leave the follower running, and change the pod from a second terminal:
  {attache} dev --pod {POD} --manifests {access} --write-kubeconfig {kubeconfig} {guest}
  kubectl --kubeconfig {kubeconfig} label --overwrite pod {POD_NAME} rack=rack-24

See what an extension asks for, and what a grant would have to say:
  {attache} inspect {guest}

Write one: guest/README.md"
        );
    }
}

/// Returns the lines of a program's output as they come, from a thread that ends with the output.
fn lines(child: &mut Child) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        thread::spawn(move || {
            let all = BufReader::new(stdout).lines().map_while(Result::ok);
            all.take_while(|line| sender.send(line.clone()).is_ok()).for_each(drop);
        });
    }
    receiver
}

/// Returns the next line, or `None` at the end of the output.
fn next(lines: &Receiver<String>, end: Instant) -> Result<Option<String>> {
    match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
        Ok(line) => Ok(Some(line)),
        Err(RecvTimeoutError::Disconnected) => Ok(None),
        Err(RecvTimeoutError::Timeout) => bail!("no change was printed within {} s", PATIENCE.as_secs()),
    }
}

/// Prints a command as a person would type it, over several lines.
fn say(command: &Command) {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<String> = words.map(|word| relative(Path::new(word))).collect();
    let text = words.join(" ");
    let text = text.replace(" --manifests", " \\\n    --manifests");
    let text = text.replace(" --write-kubeconfig", " \\\n    --write-kubeconfig");
    println!("$ {text}\n");
}

/// Returns a path as seen from the workspace.
fn relative(path: &Path) -> String {
    let shown = path.strip_prefix(guests::workspace()).unwrap_or(path);
    shown.display().to_string()
}
