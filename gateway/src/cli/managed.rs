//! What can be listed, shown, changed and deleted by its name: topics and groups.

use clap::Args;
use reqwest::Method;
use serde_json::Value;

use super::Error;
use super::arguments::{Output, ServerOption};
use super::client::{self, Client};
use super::output;

/// How results are shown, and whose they are.
#[derive(Debug, Args)]
pub struct Common {
    /// How results are shown
    #[arg(long, value_enum, default_value = "table")]
    pub output: Output,
    /// The gateway.
    #[command(flatten)]
    pub server: ServerOption,
}

/// One kind of them.
pub struct Managed {
    /// Where they are in the API, and what a list of them is called there.
    pub kind: &'static str,
    /// Of the columns of a table.
    pub titles: &'static [&'static str],
    /// One of them as a row of it.
    pub row: fn(&Value) -> Vec<String>,
}

impl Managed {
    pub async fn list(&self, common: &Common, prefix: Option<&str>) -> Result<(), Error> {
        let client = Client::new(&common.server)?;
        let found = client::list(&client, self.kind, prefix).await?;
        output::show(common.output, &found, |found| self.table(found[self.kind].as_array().map_or(&[], Vec::as_slice)))
    }

    /// Asks for the one of this name, or to have it changed, and shows what is answered.
    pub async fn ask(&self, common: &Common, method: Method, name: &str, body: Option<&Value>) -> Result<(), Error> {
        let client = Client::new(&common.server)?;
        let request = client.request(method, &[self.kind, name]);
        let request = if let Some(body) = body { request.json(body) } else { request };
        output::show(common.output, &client.json(request).await?, |one| self.table_of_one(one))
    }

    pub async fn delete(&self, common: &Common, name: &str) -> Result<(), Error> {
        let client = Client::new(&common.server)?;
        client.send(client.request(Method::DELETE, &[self.kind, name])).await.map(drop)
    }

    pub fn table_of_one(&self, one: &Value) -> String {
        self.table(std::slice::from_ref(one))
    }

    fn table(&self, objects: &[Value]) -> String {
        output::table(self.titles, &objects.iter().map(self.row).collect::<Vec<_>>())
    }
}
