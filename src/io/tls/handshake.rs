//! From a connection to one with TLS.

use std::io;
use std::time::Instant;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, HandshakeKind, ProtocolVersion};

use super::super::buf::Buf;
use super::super::conn::Conn;
use super::super::race::within;
use super::{TlsClient, TlsFailure, session};
use crate::base::limits::BODY_BUFFER_BYTES;

/// The negotiated parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreed {
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// Whether it is TLS 1.3; TLS 1.2 otherwise.
    pub is_1_3: bool,
}

/// Why the handshake failed.
#[derive(Debug)]
pub enum SecureError {
    /// It failed.
    Failed(TlsFailure),
    /// The deadline passed.
    TimedOut,
}

/// Sets up TLS over `conn`, with a server that is to prove that it is `name`. The connection is closed if that fails.
///
/// # Errors
/// See [`SecureError`].
pub async fn secure(
    conn: Conn,
    client: &TlsClient,
    name: ServerName<'static>,
    deadline: Instant,
) -> Result<(Conn, Agreed), SecureError> {
    match within(deadline, handshake(conn, client, name)).await {
        Some(done) => done.map_err(SecureError::Failed),
        None => Err(SecureError::TimedOut),
    }
}

async fn handshake(
    mut conn: Conn,
    client: &TlsClient,
    name: ServerName<'static>,
) -> Result<(Conn, Agreed), TlsFailure> {
    let mut tls = ClientConnection::new(client.config.clone(), name)?;
    let (mut sealed, mut out) = (Buf::with_capacity(BODY_BUFFER_BYTES), Buf::default());
    loop {
        out = flush(&mut conn, &mut tls, out).await?;
        if !tls.is_handshaking() {
            break;
        }
        if sealed.is_empty() {
            let (read, filled) = conn.reader.read(sealed).await;
            sealed = filled;
            if read? == 0 {
                return Err(TlsFailure::Closed);
            }
        }
        if let Err(failure) = take_in(&mut tls, &mut sealed) {
            // The alert that tells the server why; it may be gone, and then it does not matter.
            let _ = flush(&mut conn, &mut tls, out).await;
            return Err(failure);
        }
    }
    let agreed = Agreed {
        resumed: tls.handshake_kind() == Some(HandshakeKind::Resumed),
        is_1_3: tls.protocol_version() == Some(ProtocolVersion::TLSv1_3),
    };
    let Conn { reader, writer, handle } = conn;
    let (wrap, seal) = session::sides(tls, sealed, out, handle.clone());
    Ok((Conn { reader: reader.through(wrap), writer: writer.through(seal), handle }, agreed))
}

fn take_in(tls: &mut ClientConnection, sealed: &mut Buf) -> Result<(), TlsFailure> {
    let taken = tls.read_tls(&mut sealed.bytes())?;
    if taken == 0 {
        return Err(TlsFailure::Closed); // it has said goodbye, and goes on talking
    }
    sealed.consume(taken);
    tls.process_new_packets()?;
    Ok(())
}

async fn flush(conn: &mut Conn, tls: &mut ClientConnection, mut out: Buf) -> io::Result<Buf> {
    while tls.wants_write() {
        tls.write_tls(out.cleared_vec())?;
        let (sent, emptied) = conn.writer.write_all(out).await;
        sent?;
        out = emptied;
    }
    Ok(out)
}
