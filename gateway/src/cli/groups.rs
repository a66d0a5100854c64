//! `tidegate groups`.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::Error;
use super::client::Client;
use super::managed::{Common, Managed};
use super::output::{self, cell};

/// Manage groups.
#[derive(Debug, Subcommand)]
pub enum Groups {
    /// List groups
    List {
        /// Only names that begin so
        #[arg(long)]
        prefix: Option<String>,
        /// How and whom to ask.
        #[command(flatten)]
        common: Common,
    },
    /// Show a group's settings
    Describe {
        /// The group
        group: String,
        /// How and whom to ask.
        #[command(flatten)]
        common: Common,
    },
    /// Create a group that shares messages between its consumers
    Create {
        /// The group
        group: String,
        /// What it is created with.
        #[command(flatten)]
        settings: Settings,
        /// How and whom to ask.
        #[command(flatten)]
        common: Common,
    },
    /// Delete a group and its progress
    Delete {
        /// The group
        group: String,
        /// How and whom to ask.
        #[command(flatten)]
        common: Common,
    },
    /// Show what a group has still to consume
    Lag {
        /// The group
        group: String,
        /// How and whom to ask.
        #[command(flatten)]
        common: Common,
    },
    /// Move a group's progress
    Seek {
        /// The group
        group: String,
        /// Where to: earliest, latest, an RFC 3339 time; or an offset, with --topic and --partition
        to: String,
        /// Only on this topic of the group's
        #[arg(long)]
        topic: Option<String>,
        /// Only on this partition of the topic, to an offset
        #[arg(long, requires = "topic", value_name = "N")]
        partition: Option<u32>,
        /// How and whom to ask.
        #[command(flatten)]
        common: Common,
    },
}

/// A group's settings; what is not given has its default.
#[derive(Debug, Args)]
pub struct Settings {
    /// A topic it consumes, may be repeated
    #[arg(long = "topic", value_name = "TOPIC", required = true)]
    topics: Vec<String>,
    /// Messages of one key one after the other
    #[arg(long)]
    ordered_by_key: bool,
    /// Where it starts: earliest, latest or an RFC 3339 time
    #[arg(long, value_name = "WHERE")]
    start: Option<String>,
    /// How long a consumer has for a message, such as 30s
    #[arg(long, value_name = "TIME")]
    ack_deadline: Option<String>,
    /// Failed attempts after which a message is dead-lettered
    #[arg(long, value_name = "N")]
    max_deliveries: Option<u32>,
    /// Topic of dead letters
    #[arg(long, value_name = "TOPIC")]
    dead_letter: Option<String>,
    /// The most messages delivered and not yet settled
    #[arg(long, value_name = "N")]
    max_in_flight: Option<u32>,
}

impl Settings {
    fn body(&self) -> Value {
        let entries = [
            ("topics", Some(json!(self.topics))),
            ("mode", self.ordered_by_key.then(|| json!("ordered-by-key"))),
            ("start", self.start.clone().map(Value::from)),
            ("ack_deadline", self.ack_deadline.clone().map(Value::from)),
            ("max_deliveries", self.max_deliveries.map(Value::from)),
            ("dead_letter", self.dead_letter.clone().map(Value::from)),
            ("max_in_flight", self.max_in_flight.map(Value::from)),
        ];
        let given = entries.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Value::Object(given.collect::<Map<_, _>>())
    }
}

pub async fn groups(command: Groups) -> Result<(), Error> {
    match command {
        Groups::List { prefix, common } => GROUPS.list(&common, prefix.as_deref()).await,
        Groups::Describe { group, common } => GROUPS.ask(&common, Method::GET, &group, None).await,
        Groups::Create { group, settings, common } => {
            GROUPS.ask(&common, Method::PUT, &group, Some(&settings.body())).await
        }
        Groups::Delete { group, common } => GROUPS.delete(&common, &group).await,
        Groups::Lag { group, common } => lag(&common, &group).await,
        Groups::Seek { group, to, topic, partition, common } => seek(&common, &group, &to, topic, partition).await,
    }
}

const GROUPS: Managed = Managed {
    kind: "groups",
    titles: &["GROUP", "TOPICS", "MODE", "ACK DEADLINE", "MAX DELIVERIES", "IN FLIGHT", "DELAYED"],
    row: |group| {
        let topics = group.get("topics").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        vec![
            cell(group, "name"),
            topics.collect::<Vec<_>>().join(","),
            cell(group, "mode"),
            cell(group, "ack_deadline"),
            cell(group, "max_deliveries"),
            cell(group, "in_flight"),
            cell(group, "delayed"),
        ]
    },
};

async fn lag(common: &Common, group: &str) -> Result<(), Error> {
    const PARTITIONS: [(&str, &str); 4] =
        [("TOPIC", "topic"), ("PARTITION", "partition"), ("LAG", "messages"), ("BYTES", "bytes")];
    let client = Client::new(&common.server)?;
    let lag = client.json(client.request(Method::GET, &["groups", group, "lag"])).await?;
    output::show(common.output, &lag, |lag| {
        let total = ["messages", "bytes", "oldest_age"].map(|name| cell(lag, name)).to_vec();
        let total = output::table(&["LAG", "BYTES", "OLDEST"], &[total]);
        format!("{total}\n{}", output::table_of(lag, "partitions", &PARTITIONS))
    })
}

async fn seek(
    common: &Common,
    group: &str,
    to: &str,
    topic: Option<String>,
    partition: Option<u32>,
) -> Result<(), Error> {
    const POSITIONS: [(&str, &str); 3] = [("TOPIC", "topic"), ("PARTITION", "partition"), ("OFFSET", "offset")];
    let client = Client::new(&common.server)?;
    let body = seek_body(to, topic, partition)?;
    let request = client.request(Method::POST, &["groups", &format!("{group}:seek")]).json(&body);
    let sought = client.json(request).await?;
    output::show(common.output, &sought, |sought| output::table_of(sought, "positions", &POSITIONS))
}

fn seek_body(to: &str, topic: Option<String>, partition: Option<u32>) -> Result<Value, Error> {
    let Some(partition) = partition else {
        let topics = topic.map(|topic| json!([topic]));
        return Ok(topics.map_or_else(|| json!({ "to": to }), |topics| json!({ "to": to, "topics": topics })));
    };
    let offset: u64 =
        to.parse().map_err(|_| Error::failed(format!("'{to}' is no offset: with --partition, name an offset")))?;
    Ok(json!({ "offsets": [{ "topic": topic, "partition": partition, "offset": offset }] }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_seek_names_a_place_for_all_or_an_offset_for_one() {
        let topic = || Some("t".to_owned());
        assert_eq!(seek_body("latest", None, None).unwrap(), json!({"to": "latest"}));
        assert_eq!(seek_body("earliest", topic(), None).unwrap(), json!({"to": "earliest", "topics": ["t"]}));
        let one = json!({"offsets": [{"topic": "t", "partition": 2, "offset": 5}]});
        assert_eq!(seek_body("5", topic(), Some(2)).unwrap(), one);
        assert!(seek_body("latest", topic(), Some(2)).is_err());
    }
}
