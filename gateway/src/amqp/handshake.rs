//! From the protocol header to `connection.open-ok` (AMQP 0-9-1, 2.2.4 and 4.2).

use std::time::Duration;

use bytes::Bytes;

use super::Listener;
use super::codec::{
    Connection, FRAME_OVERHEAD, Limits, MIN_FRAME_MAX, Method, Payload, RawTable, RawValue, Table, Text, Value,
};
use super::connection::{Ended, Wire};
use super::error::{Code, Exception};
use crate::broker::Principal;

/// What was agreed on.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) principal: Principal,
    /// The name it logged in with.
    pub(super) user: &'static str,
    pub(super) max_frame_bytes: usize,
    pub(super) max_channels: u16,
    /// How often each side speaks; none when they agreed not to.
    pub(super) heartbeat: Option<Duration>,
    /// The client wants to be told when a consumer's queue is gone.
    pub(super) consumer_cancel_notify: bool,
    /// The client wants to be told when publishing has to wait.
    pub(super) connection_blocked: bool,
}

/// The mechanisms that there are: RFC 4616's, and the specification's own, which says the same in a table.
const MECHANISMS: &str = "PLAIN AMQPLAIN";
/// While no user exists, clients that must send credentials send these.
const GUEST: &str = "guest";

/// Opens a connection.
pub(super) async fn open(listener: &Listener, wire: &mut Wire) -> Result<Opened, Ended> {
    wire.protocol_header().await?;
    wire.send(start()).await?;
    let Connection::StartOk { client_properties, mechanism, response, .. } = receive(wire).await? else {
        return Err(unexpected("connection.start-ok"));
    };
    let wants = |capability: &str| {
        let capabilities = match client_properties.get("capabilities") {
            Some(Value::Table(capabilities)) => capabilities.get(capability),
            _ => None,
        };
        capabilities.and_then(Value::as_bool).unwrap_or_default()
    };
    let principal = authenticate(&mechanism, &response)
        .map_err(|exception| Ended::Refused { exception, silently: !wants("authentication_failure_close") })?;
    let (max_channels, max_frame_bytes, heartbeat) = tune(listener, wire).await?;
    let Connection::Open { virtual_host } = receive(wire).await? else {
        return Err(unexpected("connection.open"));
    };
    check_virtual_host(&virtual_host).map_err(|exception| Ended::Exception {
        exception,
        class_id: Connection::CLASS_ID,
        method_id: 40,
        method: "connection.open",
    })?;
    wire.send(Connection::OpenOk {}).await?;
    Ok(Opened {
        principal,
        user: GUEST,
        max_frame_bytes,
        max_channels,
        heartbeat,
        consumer_cancel_notify: wants("consumer_cancel_notify"),
        connection_blocked: wants("connection.blocked"),
    })
}

fn start() -> Connection {
    let mut capabilities = Table::default();
    for capability in [
        "publisher_confirms",
        "basic.nack",
        "consumer_cancel_notify",
        "connection.blocked",
        "per_consumer_qos",
        "authentication_failure_close",
        "direct_reply_to",
    ] {
        capabilities.push(capability, true);
    }
    let mut properties = Table::default();
    properties.push("capabilities", capabilities);
    properties.push("product", "Tidegate");
    properties.push("version", env!("CARGO_PKG_VERSION"));
    properties.push("platform", "Rust");
    properties.push("information", "One durable log, every messaging protocol");
    Connection::Start {
        version_major: 0,
        version_minor: 9,
        server_properties: properties,
        mechanisms: Bytes::from_static(MECHANISMS.as_bytes()),
        locales: Bytes::from_static(b"en_US"),
    }
}

/// Who the client is. There are no users yet, so it is nobody in particular, whom configuration lets in where it binds the listener.
fn authenticate(mechanism: &Text, response: &Bytes) -> Result<Principal, Exception> {
    let credentials = match mechanism.as_str() {
        "PLAIN" => plain(response),
        "AMQPLAIN" => amqplain(response),
        other => {
            return Err(Exception::new(
                Code::CommandInvalid,
                format!("unknown authentication mechanism '{}': use PLAIN or AMQPLAIN", other.escape_debug()),
            ));
        }
    };
    match credentials {
        Some((user, password)) if user == GUEST.as_bytes() && password == GUEST.as_bytes() => {
            Ok(Principal::anonymous())
        }
        _ => Err(Exception::new(
            Code::AccessRefused,
            format!(
                "Login was refused using authentication mechanism {}: this gateway has no users, log in as guest with the password guest",
                mechanism.as_str()
            ),
        )),
    }
}

/// User and password.
type Credentials<'a> = (&'a [u8], &'a [u8]);

/// RFC 4616: whom to act as, who it is, the password.
fn plain(response: &[u8]) -> Option<Credentials<'_>> {
    let mut parts = response.split(|byte| *byte == 0);
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(b"" | b"guest"), Some(user), Some(password), None) => Some((user, password)),
        _ => None,
    }
}

/// A table without its length, with LOGIN and PASSWORD.
fn amqplain(response: &[u8]) -> Option<Credentials<'_>> {
    let table = RawTable::check(response, &Limits::default()).ok()?;
    let text = |wanted: &[u8]| {
        table.iter().find_map(|(name, value)| match value {
            RawValue::LongString(text) if name == wanted => Some(text),
            _ => None,
        })
    };
    text(b"LOGIN").zip(text(b"PASSWORD"))
}

async fn tune(listener: &Listener, wire: &mut Wire) -> Result<(u16, usize, Option<Duration>), Ended> {
    let config = &listener.config;
    let frame_max = config.max_frame_bytes;
    let heartbeat = u16::try_from(config.heartbeat.as_secs()).unwrap_or(u16::MAX);
    wire.send(Connection::Tune { channel_max: config.max_channels, frame_max, heartbeat }).await?;
    let Connection::TuneOk { channel_max: channels, frame_max: frames, heartbeat } = receive(wire).await? else {
        return Err(unexpected("connection.tune-ok"));
    };
    let not_allowed = |message: String| Err(Ended::from(Exception::new(Code::NotAllowed, message)));
    // Zero is no limit of the client's own.
    let max_channels = if channels == 0 { config.max_channels } else { channels };
    if max_channels > config.max_channels {
        return not_allowed(format!(
            "negotiated channel_max = {channels} is higher than the maximum allowed value ({})",
            config.max_channels
        ));
    }
    let frames = if frames == 0 { frame_max } else { frames };
    let max_frame_bytes = usize::try_from(frames).unwrap_or(usize::MAX);
    if frames > frame_max || max_frame_bytes < MIN_FRAME_MAX {
        return not_allowed(format!(
            "negotiated frame_max = {frames} is outside of what is allowed, {MIN_FRAME_MAX} to {frame_max}"
        ));
    }
    wire.set_limits(Limits {
        // Some clients forget to count what is around a payload; RabbitMQ lets them.
        max_frame_bytes: max_frame_bytes + FRAME_OVERHEAD,
        max_table_depth: config.max_table_depth,
        max_table_fields: config.max_table_fields,
    });
    Ok((max_channels, max_frame_bytes, (heartbeat > 0).then(|| Duration::from_secs(heartbeat.into()))))
}

fn check_virtual_host(name: &str) -> Result<(), Exception> {
    if name == "/" {
        return Ok(());
    }
    Err(Exception::new(
        Code::NotAllowed,
        format!(
            "vhost '{}' not found: this version has '/' alone, the namespace '{}'",
            name.escape_debug(),
            Principal::DEFAULT_NAMESPACE
        ),
    ))
}

async fn receive(wire: &mut Wire) -> Result<Connection, Ended> {
    let frame = wire.receive().await?;
    match frame.payload {
        Payload::Method(Method::Connection(Connection::Close { .. })) if frame.channel == 0 => {
            wire.send(Connection::CloseOk {}).await?;
            Err(Ended::ByClient)
        }
        Payload::Method(Method::Connection(method)) if frame.channel == 0 => Ok(method),
        Payload::Method(method) => {
            let message = format!("{} before the connection is open", method.name());
            Err(Exception::new(Code::CommandInvalid, message).into())
        }
        Payload::Header(_) | Payload::Body(_) | Payload::Heartbeat => {
            Err(Exception::new(Code::UnexpectedFrame, "only methods may come before the connection is open").into())
        }
    }
}

fn unexpected(expected: &str) -> Ended {
    Exception::new(Code::CommandInvalid, format!("expected {expected}")).into()
}
