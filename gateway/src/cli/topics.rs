//! `tidegate topics`.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value};

use super::Error;
use super::client::Client;
use super::managed::{Common, Managed};
use super::output::{self, cell};

/// Manage topics.
#[derive(Debug, Subcommand)]
pub enum Topics {
    /// List topics
    List {
        /// Only names that begin so
        #[arg(long)]
        prefix: Option<String>,
        /// How and whom to ask.
        #[command(flatten)]
        common: Common,
    },
    /// Show a topic's settings and what its partitions hold
    Describe {
        /// The topic
        topic: String,
        /// How and whom to ask.
        #[command(flatten)]
        common: Common,
    },
    /// Create a topic
    Create {
        /// The topic
        topic: String,
        /// What it is created with.
        #[command(flatten)]
        settings: Settings,
        /// How and whom to ask.
        #[command(flatten)]
        common: Common,
    },
    /// Change a topic's settings, or add partitions
    Alter {
        /// The topic
        topic: String,
        /// What changes.
        #[command(flatten)]
        settings: Settings,
        /// How and whom to ask.
        #[command(flatten)]
        common: Common,
    },
    /// Delete a topic, its messages and every group's progress on it
    Delete {
        /// The topic
        topic: String,
        /// How and whom to ask.
        #[command(flatten)]
        common: Common,
    },
}

/// A topic's settings; what is not given has its default, or stays.
#[derive(Debug, Args)]
pub struct Settings {
    /// Partitions; they can grow, never shrink
    #[arg(long, value_name = "N")]
    partitions: Option<u32>,
    /// When a publish counts as done: fsync, page-cache or memory
    #[arg(long)]
    durability: Option<String>,
    /// Remove messages older than this, such as 7d, or forever
    #[arg(long, value_name = "TIME")]
    retention_time: Option<String>,
    /// Keep so many bytes a partition, such as 10GiB, or unlimited
    #[arg(long, value_name = "SIZE")]
    retention_bytes: Option<String>,
    /// Remove what every group has acknowledged
    #[arg(long, value_name = "BOOL")]
    until_acknowledged: Option<bool>,
    /// Keep the last message of each key
    #[arg(long, value_name = "BOOL")]
    compact: Option<bool>,
    /// The largest batch accepted, such as 1MiB
    #[arg(long, value_name = "SIZE")]
    max_message_bytes: Option<String>,
}

impl Settings {
    fn body(&self) -> Value {
        let limit = |text: &Option<String>, none: &str| match text.as_deref() {
            Some(text) if text == none => Some(Value::Null),
            text => text.map(Value::from),
        };
        let given = |entries: Vec<(&str, Option<Value>)>| -> Map<String, Value> {
            entries.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
        };
        let retention = given(vec![
            ("time", limit(&self.retention_time, "forever")),
            ("bytes", limit(&self.retention_bytes, "unlimited")),
            ("until_acknowledged", self.until_acknowledged.map(Value::from)),
            ("compact", self.compact.map(Value::from)),
        ]);
        Value::Object(given(vec![
            ("partitions", self.partitions.map(Value::from)),
            ("durability", self.durability.clone().map(Value::from)),
            ("max_message_bytes", self.max_message_bytes.clone().map(Value::from)),
            ("retention", Some(retention).filter(|retention| !retention.is_empty()).map(Value::Object)),
        ]))
    }
}

pub async fn topics(command: Topics) -> Result<(), Error> {
    match command {
        Topics::List { prefix, common } => TOPICS.list(&common, prefix.as_deref()).await,
        Topics::Describe { topic, common } => describe(&common, &topic).await,
        Topics::Create { topic, settings, common } => {
            TOPICS.ask(&common, Method::PUT, &topic, Some(&settings.body())).await
        }
        Topics::Alter { topic, settings, common } => {
            TOPICS.ask(&common, Method::PATCH, &topic, Some(&settings.body())).await
        }
        Topics::Delete { topic, common } => TOPICS.delete(&common, &topic).await,
    }
}

const TOPICS: Managed = Managed {
    kind: "topics",
    titles: &["TOPIC", "PARTITIONS", "DURABILITY", "KEPT FOR", "KEPT BYTES"],
    row: |topic| {
        let retention = topic.get("retention").unwrap_or(&Value::Null);
        vec![
            cell(topic, "name"),
            cell(topic, "partitions"),
            cell(topic, "durability"),
            cell(retention, "time"),
            cell(retention, "bytes"),
        ]
    },
};

async fn describe(common: &Common, topic: &str) -> Result<(), Error> {
    const OFFSETS: [(&str, &str); 4] =
        [("PARTITION", "partition"), ("EARLIEST", "earliest"), ("LATEST", "latest"), ("BYTES", "bytes")];
    let client = Client::new(&common.server)?;
    let topic = client.json(client.request(Method::GET, &["topics", topic])).await?;
    output::show(common.output, &topic, |topic| {
        format!("{}\n{}", TOPICS.table_of_one(topic), output::table_of(topic, "offsets", &OFFSETS))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_is_given_is_sent() {
        let mut settings = Settings {
            partitions: None,
            durability: None,
            retention_time: None,
            retention_bytes: None,
            until_acknowledged: None,
            compact: None,
            max_message_bytes: None,
        };
        assert_eq!(settings.body(), json!({}));
        settings.partitions = Some(3);
        settings.retention_time = Some("forever".into());
        settings.retention_bytes = Some("10GiB".into());
        assert_eq!(settings.body(), json!({"partitions": 3, "retention": {"time": null, "bytes": "10GiB"}}));
    }
}
