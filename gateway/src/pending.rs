#![allow(missing_docs)]
pub mod kafka {
    #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
    #[serde(default, deny_unknown_fields)]
    pub struct Config {
        /// host:port told to clients.
        pub advertised: Option<String>,
        #[serde(skip)]
        pub cluster_id: String,
    }
    #[derive(Debug, Default)]
    pub struct Metrics;
    pub struct Listener;
    impl Listener {
        pub fn new(_: crate::broker::Broker, _: std::sync::Arc<Config>, _: std::sync::Arc<Metrics>) -> Self {
            Self
        }
        pub async fn serve(self, socket: tokio::net::TcpListener, drain: crate::listener::Drain) {
            crate::listener::accept(socket, 10, drain, |_, _| async {}).await;
        }
    }
}
pub mod http {
    #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
    #[serde(default, deny_unknown_fields)]
    pub struct Config {
        /// Connections.
        pub max_connections: usize,
    }
    pub async fn serve(
        socket: tokio::net::TcpListener,
        _: crate::broker::Broker,
        _: std::sync::Arc<Config>,
        _: [u8; 32],
        drain: crate::listener::Drain,
    ) {
        crate::listener::accept(socket, 10, drain, |_, _| async {}).await;
    }
}
