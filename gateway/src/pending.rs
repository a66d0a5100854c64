#![allow(missing_docs)]
pub mod kafka {
    #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
    #[serde(default, deny_unknown_fields)]
    pub struct Config {
        /// host:port told to clients.
        pub advertised: Option<String>,
    }
}
pub mod http {
    #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
    #[serde(default, deny_unknown_fields)]
    pub struct Config {
        /// Connections.
        pub max_connections: usize,
    }
}
