//! The one binary: arguments, configuration, start, wait for a signal, drain.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::disable_transparent_huge_pages;
use tidegate::cli::{self, Arguments, Command, Error, Serve};
use tidegate::server::{Reloader, Server};
use tidegate::telemetry;
use tokio::signal::unix::{Signal, SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Serve(arguments) => {
            adapt_process();
            cli::end(serve(arguments))
        }
        command => cli::run(command),
    }
}

/// What a server wants of the system and a command does not. Neither is needed to begin.
fn adapt_process() {
    // The allocator gives memory back by small parts, and with huge pages has 2 MiB at a time come back: under AMQP that was nearly
    // half of all memory.
    let _ = disable_transparent_huge_pages(true);
    // A connection holds a file, a segment up to three: the soft limit, often 1,024, is there for programs that use select().
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

#[tokio::main]
async fn serve(arguments: Serve) -> Result<(), Error> {
    let sources = arguments.sources();
    let config = sources.load()?;
    let level = telemetry::start(&config.log);
    // Before anything else: a stop asked for while data is being opened is a stop, not a kill.
    let mut signals = Signals::install()?;
    let server = Server::start(config).await?;
    announce(&server)?;
    signals.wait(&server, Reloader::new(sources, level)).await;
    Ok(server.stop(signals.stop()).await?)
}

/// One line for programs; for people also what to do next.
fn announce(server: &Server) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    let text = if out.is_terminal() { server.welcome() } else { server.addresses().to_string() + "\n" };
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn install() -> Result<Self, Error> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Until somebody asks for a stop.
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// As [`Signals::stop`]. Meanwhile the configuration is read again on SIGHUP and when its file changes.
    async fn wait(&mut self, server: &Server, mut reloader: Reloader) {
        loop {
            let interval = server.gateway().config().reload_interval;
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => reloader.reload(server),
                () = tokio::time::sleep(interval) => reloader.look(server),
            }
        }
    }
}
