//! The ring: the only module that names the runtime, and the only one that may hold `unsafe`.
//!
//! It owns sockets, timers and buffers, and turns the five laws of completion I/O into types that cannot break them:
//!
//! 1. an operation is live when it is called, so [`Reader::arm`] stores and [`Reader::done`] starts it;
//! 2. a read in flight is never dropped on a connection that lives on: it stays in its [`Reader`], and the future that
//!    waits for it may be dropped at will;
//! 3. dropping a connection drops its operations with it;
//! 4. an accept is cancelled and awaited, never dropped ([`ListenSocket::accept`], [`ListenSocket::stop`]);
//! 5. no future here wakes itself.
//!
//! It must never know HTTP, a plan or a policy. Its callers are `upstream`, `proxy` and `worker`.

mod buf;
mod clock;
mod conn;
mod connect;
mod doorbell;
mod guard;
mod handle;
mod listen;
mod notify;
mod race;
mod ring;
#[cfg(test)]
mod script;
mod slot;
mod tls;

pub use buf::{Buf, BufPool, Share, Size};
pub use clock::{Timer, now, sleep_until, unix_time};
pub use conn::{Conn, Parked, Reader, Writer};
pub use connect::connect;
pub use doorbell::{Bell, Ringer, doorbell};
pub use guard::{CatchPanic, Caught, catch_panic};
pub use handle::Handle;
pub use listen::{ListenSocket, bind_probe, bind_reuseport};
pub use notify::Notify;
pub use race::{Either, race, within};
pub use ring::{Driver, Started, block_on, spawn};
#[cfg(test)]
pub(crate) use script::ScriptedPeer;
pub use tls::{Agreed, AlertCode, PeerName, SecureError, ServerName, TlsClient, TlsFailure, Trust, secure};
