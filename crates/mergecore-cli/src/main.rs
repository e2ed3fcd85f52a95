//! The `mergecore` command: parses arguments, shows progress, prints errors.

mod args;
mod check;
mod inspect;
mod interrupt;
mod merge;
mod methods;
mod plan;
mod print;
mod progress;
mod size;
mod table;

use std::process::ExitCode;

use args::Command;

/// The recipe or the command line is wrong.
const USAGE: u8 = 2;
/// The merge failed.
const FAILED: u8 = 1;

/// Why the command fails: what to print, a message each, and the exit status.
struct Failure {
    /// Nothing, if all is said.
    texts: Vec<String>,
    /// What to say besides.
    note: Option<String>,
    status: u8,
}

impl Failure {
    fn new(text: impl ToString, status: u8) -> Self {
        Failure { texts: vec![text.to_string()], note: None, status }
    }

    /// What is to be said was printed.
    fn told(status: u8) -> Self {
        Failure { texts: Vec::new(), note: None, status }
    }
}

impl From<mergecore::Error> for Failure {
    fn from(error: mergecore::Error) -> Self {
        let status = if error.is_recipe() { USAGE } else { FAILED };
        Failure { texts: error.lines(), note: None, status }
    }
}

impl From<mergecore::ConfigError> for Failure {
    fn from(error: mergecore::ConfigError) -> Self {
        mergecore::Error::from(error).into()
    }
}

impl From<mergecore::EngineError> for Failure {
    fn from(error: mergecore::EngineError) -> Self {
        mergecore::Error::from(error).into()
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::new(
            format!("cannot write the result: {error}; have it written somewhere else"),
            FAILED,
        )
    }
}

fn main() -> ExitCode {
    let done = match args::parse().command {
        Command::Merge(args) => merge::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Verify(args) => check::run_verify(&args),
        Command::Reproduce(args) => check::run_reproduce(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Methods(args) => methods::run(&args),
        Command::Schema => methods::schema(),
        Command::Completions { shell } => completions(shell),
        Command::Man { dir } => man(dir),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.texts.iter().for_each(print::error);
            failure.note.iter().for_each(print::note);
            ExitCode::from(failure.status)
        }
    }
}

fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "mergecore", &mut script);
    Ok(print::result(String::from_utf8_lossy(&script))?)
}

fn man(dir: Option<std::path::PathBuf>) -> Result<(), Failure> {
    let command = args::command();
    match dir {
        Some(dir) => clap_mangen::generate_to(command, &dir).map_err(|error| {
            let dir = dir.display();
            let advice = "give a directory that exists and can be written";
            let text = format!("cannot write man pages to {dir}: {error}; {advice}");
            Failure::new(text, FAILED)
        }),
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            Ok(print::result(String::from_utf8_lossy(&page))?)
        }
    }
}
