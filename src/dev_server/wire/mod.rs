//! Connections and bodies: what is between the operations and the socket.

mod body;
mod conn;
mod inbound;
mod pace;
mod tls;

pub(super) use body::{SendBody, Trouble};
pub(super) use conn::{Connection, Control, End};
pub(super) use inbound::{Inbound, Mishap, never};
pub(super) use tls::acceptor;
