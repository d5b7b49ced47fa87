//! `semsql models`: the models on this machine.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Subcommand;
use tokio::runtime::Runtime;

use super::interrupts::Interrupts;
use super::run::Shell;
use super::{INTERRUPTED, complain, fail};
use crate::error::Result;
use crate::io::FileOptions;
use crate::models::hub::{self, Pulled, Verified};
use crate::models::local;

/// What is done with models.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum ModelsCommand {
    /// The models on this machine
    List,
    /// Fetch models from the Hugging Face hub, mend them, or bring them to their newest commit
    Pull {
        /// Their names
        #[arg(required = true, value_name = "MODEL", help = "[OWNER/]NAME[@REVISION][@VARIANT]")]
        models: Vec<String>,
    },
    /// Hold the files of models against the hashes with which they were fetched
    Verify {
        /// Their names
        #[arg(required = true, value_name = "MODEL", help = "[OWNER/]NAME[@REVISION]")]
        models: Vec<String>,
    },
    /// Delete models
    Remove {
        /// Their names
        #[arg(required = true, value_name = "MODEL", help = "[OWNER/]NAME[@REVISION]")]
        models: Vec<String>,
    },
}

const LIST: &str = "SELECT model, kind, dimensions, max_tokens, revision, bytes, licence, path FROM models() \
                    WHERE provider = 'transformers' ORDER BY model";
/// How often the progress of a fetch is drawn.
const TICK: Duration = Duration::from_millis(200);

impl ModelsCommand {
    /// Does it; the first failure ends it.
    pub(super) fn run(&self, runtime: &Runtime, interrupts: &Interrupts, shell: &mut Shell) -> ExitCode {
        let done = match self {
            Self::List => return list(runtime, shell),
            Self::Pull { models } => return pull(runtime, interrupts, models, shell),
            Self::Verify { models } => models.iter().try_for_each(|model| verify(model, shell)),
            Self::Remove { models } => models.iter().try_for_each(|model| {
                let removed = local::remove(model).map_err(|error| error.to_string())?;
                say(shell, &format!("removed {removed}"))
            }),
        };
        done.map_or_else(fail, |()| ExitCode::SUCCESS)
    }
}

fn list(runtime: &Runtime, shell: &mut Shell) -> ExitCode {
    shell.settings.show_all_rows();
    match runtime.block_on(shell.run("models list", LIST)) {
        Err(super::Stop::Failed(report)) => fail(report.message),
        // all of it, or as much as the reader wanted
        Ok(()) | Err(_) => ExitCode::SUCCESS,
    }
}

fn pull(runtime: &Runtime, interrupts: &Interrupts, models: &[String], shell: &mut Shell) -> ExitCode {
    let files = Arc::new(FileOptions::unrestricted());
    for model in models {
        let pulled = watch(local::pull(model, None, true, &files), shell.quiet);
        let said = match runtime.block_on(interrupts.during(pulled)) {
            Some(Ok(pulled)) => say(shell, &describe(&pulled)),
            Some(Err(error)) => Err(error.to_string()),
            None => return ExitCode::from(INTERRUPTED),
        };
        if let Err(reason) = said {
            return fail(reason);
        }
    }
    ExitCode::SUCCESS
}

fn describe(Pulled { name, path, commit, bytes, changed }: &Pulled) -> String {
    let commit = commit.get(..12).unwrap_or(commit);
    let done = if *changed { "pulled" } else { "is here:" };
    format!("{done} {name} at {commit}, {}, in {}", size(*bytes), path.display())
}

fn verify(model: &str, shell: &mut Shell) -> Result<(), String> {
    let Verified { name, faults, cure } = hub::verify(model).map_err(|error| error.to_string())?;
    if faults.is_empty() {
        return say(shell, &format!("{name} is as it was fetched"));
    }
    Err(format!("{name} is not as it was fetched: {}; {cure}", faults.join("; ")))
}

fn say(shell: &mut Shell, text: &str) -> Result<(), String> {
    let written = writeln!(shell.out, "{text}").and_then(|()| shell.out.flush());
    written.map_err(|error| format!("cannot write to standard output: {error}"))
}

/// Shows what is fetched while something is done: on a terminal how far it is, else once what it is.
pub(super) async fn watch<T>(work: impl Future<Output = T>, quiet: bool) -> T {
    let terminal = io::stderr().is_terminal();
    let mut work = std::pin::pin!(work);
    let mut announced: Vec<String> = vec![];
    let mut drawn = false;
    let done = loop {
        tokio::select! {
            biased;
            done = &mut work => break done,
            () = tokio::time::sleep(TICK) => {}
        }
        let pulls = hub::pulls();
        let pulls = pulls.iter().filter(|pull| pull.total() > 0 && !quiet);
        if terminal {
            let mut line = String::new();
            for pull in pulls {
                let percent = pull.bytes() * 100 / pull.total();
                let of = format!("{} of {}, {percent} %", size(pull.bytes()), size(pull.total()));
                let _ = write!(line, "fetching {}: {of}  ", pull.model());
            }
            if drawn || !line.is_empty() {
                drawn = !line.is_empty();
                let _ = write!(io::stderr(), "\r\x1b[K{line}");
                let _ = io::stderr().flush();
            }
            continue;
        }
        for pull in pulls {
            if announced.iter().all(|model| model != pull.model()) {
                announced.push(pull.model().to_owned());
                complain(format_args!("semsql: fetching {}, {}", pull.model(), size(pull.total())));
            }
        }
    };
    if drawn {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
    done
}

/// `90.3 MB`
fn size(bytes: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", bytes / unit, bytes % unit * 10 / unit);
    match bytes {
        0..1_000_000 => format!("{} kB", tenths(1_000)),
        1_000_000..1_000_000_000 => format!("{} MB", tenths(1_000_000)),
        _ => format!("{} GB", tenths(1_000_000_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_said_in_three_or_four_digits() {
        for (bytes, said) in
            [(0, "0.0 kB"), (12_345, "12.3 kB"), (90_288_260, "90.2 MB"), (1_234_567_890, "1.2 GB")]
        {
            assert_eq!(size(bytes), said);
        }
    }
}
