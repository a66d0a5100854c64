//! Class 40: exchanges.

use super::codec::{self, Method, Table};
use super::error::{Code, Exception, Result};
use super::queue::without_line_ends;
use super::session::{Session, from_servers};
use crate::broker::{ExchangeKind, ExchangeSpec};

impl Session<'_> {
    pub(super) async fn exchange_method(&mut self, id: u16, method: codec::Exchange) -> Result<()> {
        use codec::Exchange as E;
        let (broker, principal) = (&self.listener.broker, &self.opened.principal);
        let (answer, no_wait) = match method {
            E::Declare { exchange, passive: true, no_wait, .. } => {
                let exchange = without_line_ends(exchange);
                check_default(&exchange)?;
                if broker.exchange(principal, &exchange)?.is_none() {
                    return Err(Exception::new(Code::NotFound, format!("no exchange '{exchange}': declare it first")));
                }
                (E::DeclareOk {}, no_wait)
            }
            E::Declare { exchange, r#type, durable, auto_delete, internal, no_wait, arguments, passive: false } => {
                let exchange = without_line_ends(exchange);
                let kind = kind(&r#type)?;
                check_arguments(&arguments)?;
                check_default(&exchange)?;
                let spec = ExchangeSpec { kind, durable, auto_delete, internal };
                broker.declare_exchange(principal, &exchange, spec).await?;
                (E::DeclareOk {}, no_wait)
            }
            E::Delete { exchange, if_unused, no_wait } => {
                let exchange = without_line_ends(exchange);
                check_default(&exchange)?;
                broker.delete_exchange(principal, &exchange, if_unused).await?;
                (E::DeleteOk {}, no_wait)
            }
            E::Bind { .. } | E::Unbind { .. } => return Err(Exception::not_implemented(method.name())),
            E::DeclareOk {} | E::DeleteOk {} | E::BindOk {} | E::UnbindOk {} => {
                return Err(from_servers(method.name()));
            }
        };
        if !no_wait {
            self.reply(id, Method::Exchange(answer));
        }
        Ok(())
    }
}

fn kind(name: &str) -> Result<ExchangeKind> {
    match name {
        "direct" => Ok(ExchangeKind::Direct),
        "fanout" => Ok(ExchangeKind::Fanout),
        "topic" => Ok(ExchangeKind::Topic),
        "headers" | "x-consistent-hash" | "x-modulus-hash" | "x-random" | "x-local-random" | "x-delayed-message"
        | "x-recent-history" => Err(Exception::not_implemented(format_args!("exchange type {name}"))),
        _ => Err(Exception::new(Code::PreconditionFailed, format!("invalid exchange type '{}'", name.escape_debug()))),
    }
}

fn check_arguments(arguments: &Table) -> Result<()> {
    match arguments.get("alternate-exchange") {
        Some(_) => Err(Exception::not_implemented("exchange argument alternate-exchange")),
        None => Ok(()),
    }
}

/// The exchange without a name is there, and nothing can be done with it but to publish to it.
pub(super) fn check_default(name: &str) -> Result<()> {
    if !name.is_empty() {
        return Ok(());
    }
    Err(Exception::new(Code::AccessRefused, "operation not permitted on the default exchange"))
}
