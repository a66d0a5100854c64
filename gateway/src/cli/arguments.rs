//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::bench::Bench;
use super::groups::Groups;
use super::log::Log;
use super::topics::Topics;
use crate::config::{Flag, Sources};

/// One durable log, every messaging protocol.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, about, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 failed; 2 wrong usage; 3 the gateway cannot be reached or cannot answer now, try again;
4 the gateway refused, the same command will be refused again.";

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the gateway
    Serve(Serve),
    /// Check a configuration file and print every mistake with its line
    Check(Check),
    /// Publish a message, or one a line
    Publish(Publish),
    /// Print messages of a topic as they come, or consume them for a group
    Subscribe(Subscribe),
    /// Manage topics
    #[command(subcommand)]
    Topics(Topics),
    /// Manage groups
    #[command(subcommand)]
    Groups(Groups),
    /// Look at a data directory that no gateway has open, give damage up
    #[command(subcommand)]
    Log(Log),
    /// Generate load and measure
    #[command(subcommand)]
    Bench(Bench),
    /// Print a completion script for a shell
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print what is generated from the code
    #[command(subcommand, hide = true)]
    Config(Generate),
}

/// What is generated from the code.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Generate {
    /// JSON Schema of the configuration file
    Schema,
    /// docs/configuration.md
    Reference,
    /// tidegate.example.yaml
    Example,
}

/// Start the gateway.
#[derive(Debug, Args)]
pub struct Serve {
    /// Configuration file (YAML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory of the log and all state [default: ./tidegate-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Address of the HTTP API, or off [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    http: Option<String>,
    /// Address of the gRPC listener, or off [default: 127.0.0.1:50051]
    #[arg(long, value_name = "ADDR")]
    grpc: Option<String>,
    /// Address of the AMQP listener, or off [default: 127.0.0.1:5672]
    #[arg(long, value_name = "ADDR")]
    amqp: Option<String>,
    /// Address of the Kafka listener, or off [default: 127.0.0.1:9092]
    #[arg(long, value_name = "ADDR")]
    kafka: Option<String>,
    /// Address of the management API: only off, this version has none
    #[arg(long, value_name = "ADDR")]
    management: Option<String>,
    /// Address of the admin listener, or off [default: 127.0.0.1:9600]
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    /// Allow listening beyond this machine although clients cannot be authenticated
    #[arg(long)]
    insecure: bool,
}

impl Serve {
    /// Where the configuration comes from.
    #[must_use]
    pub fn sources(self) -> Sources {
        let flags = [
            ("--data-dir", "data_dir", self.data_dir),
            ("--http", "listeners.http.listen", self.http),
            ("--grpc", "listeners.grpc.listen", self.grpc),
            ("--amqp", "listeners.amqp.listen", self.amqp),
            ("--kafka", "listeners.kafka.listen", self.kafka),
            ("--management", "listeners.management.listen", self.management),
            ("--admin", "listeners.admin.listen", self.admin),
        ];
        let flags = flags.into_iter().filter_map(|(name, setting, value)| Some(Flag { name, setting, value: value? }));
        Sources { file: self.config, flags: flags.collect(), insecure: self.insecure, ..Sources::default() }
            .with_environment()
    }
}

/// Check a configuration.
#[derive(Debug, Args)]
pub struct Check {
    /// Configuration file (YAML)
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Allow listening beyond this machine although clients cannot be authenticated
    #[arg(long)]
    pub insecure: bool,
}

/// The gateway to talk to.
#[derive(Debug, Clone, Args)]
pub struct ServerOption {
    /// The gateway's HTTP API
    #[arg(long, value_name = "URL", env = "TIDEGATE_SERVER", default_value = "http://127.0.0.1:8080")]
    pub server: String,
}

/// How results are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A table for people
    Table,
    /// JSON for programs
    Json,
}

/// How messages are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MessageOutput {
    /// The value and a line feed
    Raw,
    /// One JSON object a line
    Json,
}

/// Publish.
#[derive(Debug, Args)]
pub struct Publish {
    /// The topic
    pub topic: String,
    /// File with the message; - or nothing is standard input
    pub file: Option<PathBuf>,
    /// Key of the message
    #[arg(long, value_name = "K")]
    pub key: Option<String>,
    /// Header of the message, may be repeated
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub headers: Vec<(String, String)>,
    /// Publish every line as a message of its own
    #[arg(long)]
    pub lines: bool,
    /// How results are shown
    #[arg(long, value_enum, default_value = "table")]
    pub output: Output,
    /// The gateway
    #[command(flatten)]
    pub server: ServerOption,
}

/// Subscribe.
#[derive(Debug, Args)]
pub struct Subscribe {
    /// The topic to read without a group, which changes nothing
    #[arg(required_unless_present = "group", conflicts_with = "group")]
    pub topic: Option<String>,
    /// The group to consume for: what is printed is acknowledged
    #[arg(long, value_name = "G")]
    pub group: Option<String>,
    /// Where to start: earliest, latest, an RFC 3339 time, or an offset with --partition [default: latest]
    #[arg(long, value_name = "WHERE", conflicts_with = "group")]
    pub from: Option<String>,
    /// Only this partition of the topic
    #[arg(long, value_name = "N", conflicts_with = "group")]
    pub partition: Option<u32>,
    /// End after so many messages
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// How messages are shown
    #[arg(long, value_enum, default_value = "raw")]
    pub output: MessageOutput,
    /// The gateway
    #[command(flatten)]
    pub server: ServerOption,
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".into()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    fn serve(arguments: &[&str]) -> Sources {
        let line = ["tidegate", "serve"].iter().chain(arguments);
        match Arguments::try_parse_from(line).unwrap().command {
            Command::Serve(serve) => Sources { environment: Vec::new(), ..serve.sources() },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn serve_needs_nothing() {
        assert_eq!(serve(&[]).load().unwrap(), crate::config::Config::default());
    }

    #[test]
    fn flags_become_settings() {
        let config = serve(&["--data-dir", "/d", "--kafka", "off", "--http", "127.0.0.1:0"]).load().unwrap();
        assert_eq!(config.data_dir, PathBuf::from("/d"));
        assert_eq!(config.listeners.kafka.listen.address(), None);
        assert_eq!(config.listeners.http.listen.address().unwrap().port(), 0);
    }

    #[test]
    fn listeners_that_are_not_there_are_refused() {
        assert!(serve(&["--management", "off"]).load().is_ok());
        let told = serve(&["--management", "127.0.0.1:5000"]).load().unwrap_err().to_string();
        assert!(told.starts_with("--management") && told.contains("this version has no"), "{told}");
    }

    #[test]
    fn a_topic_or_a_group_is_subscribed_to() {
        let parse = |line: &str| Arguments::try_parse_from(line.split(' '));
        assert!(parse("tidegate subscribe orders --from earliest --count 3 --output json").is_ok());
        assert!(parse("tidegate subscribe --group billing").is_ok());
        assert!(parse("tidegate subscribe").is_err());
        assert!(parse("tidegate subscribe orders --group billing").is_err());
        assert!(parse("tidegate publish orders --header novalue").is_err());
        assert!(parse("tidegate publish orders --header n=v=w --key k --lines -").is_ok());
    }
}
