//! Connections and bodies: what is between the operations and the socket.

mod body;
mod conn;
mod pace;

pub(super) use body::{SendBody, Trouble};
pub(super) use conn::{Connection, Control, End};
