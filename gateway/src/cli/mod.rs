//! The command line: arguments, and every command but `serve`.

mod arguments;
mod bench;
mod check;
mod client;
mod error;
mod groups;
mod log;
mod managed;
mod messages;
mod output;
mod publish;
mod subscribe;
mod topics;

use std::process::ExitCode;

use clap::CommandFactory;

pub use arguments::{Arguments, Command, Serve};
pub use error::{Error, Exit};

use arguments::Generate;

/// Runs a command that is not `serve`.
#[must_use]
pub fn run(command: Command) -> ExitCode {
    end(dispatch(command))
}

/// Shows an error, if any, and says how the process ends.
pub fn end(result: Result<(), Error>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.message.is_empty() {
                eprintln!("tidegate: {}", error.message);
            }
            error.exit.into()
        }
    }
}

fn dispatch(command: Command) -> Result<(), Error> {
    match command {
        Command::Serve(_) => Err(Error::failed("serve is started by the program itself")),
        Command::Check(check) => check::check(&check),
        Command::Publish(publish) => block_on(publish::publish(publish)),
        Command::Subscribe(subscribe) => block_on(subscribe::subscribe(subscribe)),
        Command::Topics(topics) => block_on(topics::topics(topics)),
        Command::Groups(groups) => block_on(groups::groups(groups)),
        Command::Log(log) => log::log(log),
        Command::Bench(bench) => bench::bench(bench),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "tidegate", &mut std::io::stdout());
            Ok(())
        }
        Command::Config(generate) => output::print(&match generate {
            Generate::Schema => serde_json::to_string_pretty(&crate::config::schema()).unwrap_or_default() + "\n",
            Generate::Reference => crate::config::reference(),
            Generate::Example => crate::config::example(),
        }),
    }
}

/// A client needs one thread.
fn block_on(command: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Error::failed(format!("cannot start: {error}")))?.block_on(command)
}
