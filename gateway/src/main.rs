//! The one binary: arguments, configuration, start, wait for a signal, drain.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use tidegate::cli::{self, Arguments, Command, Error, Serve};
use tidegate::server::{Reloader, Server};
use tidegate::telemetry;
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Serve(arguments) => cli::end(serve(arguments)),
        command => cli::run(command),
    }
}

#[tokio::main]
async fn serve(arguments: Serve) -> Result<(), Error> {
    let sources = arguments.sources();
    let config = sources.load()?;
    let level = telemetry::start(&config.log);
    let server = Server::start(config).await?;
    announce(&server)?;
    wait(&server, Reloader::new(sources, level)).await?;
    Ok(server.stop().await?)
}

/// One line for programs; for people also what to do next.
fn announce(server: &Server) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    let text = if out.is_terminal() { server.welcome() } else { server.addresses().to_string() + "\n" };
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Until somebody asks for a stop. Meanwhile the configuration is read again on SIGHUP and when its file changes.
async fn wait(server: &Server, mut reloader: Reloader) -> Result<(), Error> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        let interval = server.gateway().config().reload_interval;
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => reloader.reload(server),
            () = tokio::time::sleep(interval) => reloader.look(server),
        }
    }
}
