#![allow(missing_docs)]
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
