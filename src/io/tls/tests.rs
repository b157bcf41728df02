//! A secured connection against a server of rustls's own, on both drivers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::super::{Buf, Conn, Driver, Either, block_on, connect, now, race, sleep_until, within};
use super::*;

const DRIVERS: [Driver; 2] = [Driver::Auto, Driver::Epoll];

fn soon() -> Instant {
    now() + Duration::from_secs(20)
}

fn name() -> ServerName<'static> {
    ServerName::try_from("a.example.com").expect("a name")
}

type Served = StreamOwned<ServerConnection, TcpStream>;

/// A server that does this with its one connection.
fn serve<T: Send + 'static>(with: impl FnOnce(Served) -> T + Send + 'static) -> (SocketAddr, JoinHandle<T>) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["a.example.com".to_owned()]).expect("a name");
    let chain: Vec<CertificateDer<'static>> = vec![params.self_signed(&key).expect("a certificate").der().clone()];
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let builder = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()));
    let builder = builder.with_protocol_versions(rustls::ALL_VERSIONS).expect("versions").with_no_client_auth();
    let config = Arc::new(builder.with_single_cert(chain, key).expect("a certificate"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        with(StreamOwned::new(ServerConnection::new(config).expect("a server"), stream))
    });
    (address, server)
}

async fn secured(address: SocketAddr) -> Conn {
    let client = TlsClient::new(Trust::Anyone, Vec::new(), None);
    let conn = connect(&address.into(), soon()).await.expect("a connection");
    secure(conn, &client, name(), soon()).await.expect("TLS").0
}

fn buf(bytes: &[u8]) -> Buf {
    let mut buf = Buf::with_capacity(bytes.len().max(1));
    buf.extend(bytes);
    buf
}

/// Sends records of one part of the bytes each, cut into segments without regard for them.
fn send_cut(stream: &mut Served, bytes: &[u8], records: &[usize], segments: &[usize]) {
    let (mut rest, mut records) = (bytes, records.iter().cycle());
    let mut wire = Vec::new();
    while !rest.is_empty() {
        let length = records.next().copied().unwrap_or(1).clamp(1, rest.len());
        stream.conn.writer().write_all(&rest[..length]).expect("room for a record");
        rest = &rest[length..];
        while stream.conn.wants_write() {
            stream.conn.write_tls(&mut wire).expect("a Vec takes everything");
        }
    }
    let (mut rest, mut segments) = (wire.as_slice(), segments.iter().cycle());
    while !rest.is_empty() {
        let length = segments.next().copied().unwrap_or(1).clamp(1, rest.len());
        stream.sock.write_all(&rest[..length]).expect("send");
        rest = &rest[length..];
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at ^ (at >> 8)) as u8).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the sizes of pieces, records, segments and buffers, and while both sides send at the same time.
    #[test]
    fn bytes_arrive_as_they_were_sent(
        up in 1..60_000usize,
        down in 1..60_000usize,
        pieces in proptest::collection::vec(100..30_000usize, 1..5),
        records in proptest::collection::vec(prop_oneof![1..64usize, 500..20_000usize], 1..5),
        segments in proptest::collection::vec(prop_oneof![1..8usize, 100..20_000usize], 1..5),
        rooms in proptest::collection::vec(prop_oneof![1..64usize, 100..20_000usize], 1..5),
        epoll in any::<bool>(),
    ) {
        let (asked, answered) = (pattern(up), pattern(down));
        // A few hundred of each are enough, and thousands of system calls are not.
        let least = |lengths: &[usize], of: usize| lengths.iter().map(|length| (*length).max(of / 300)).collect::<Vec<_>>();
        let (records, segments, rooms) = (least(&records, down), least(&segments, down), least(&rooms, down));
        let (address, server) = serve({
            let answered = answered.clone();
            move |mut stream| {
                while stream.conn.is_handshaking() {
                    stream.conn.complete_io(&mut stream.sock).expect("a handshake");
                }
                send_cut(&mut stream, &answered, &records, &segments);
                let mut got = vec![0; up];
                stream.read_exact(&mut got).expect("what was sent");
                got
            }
        });
        let driver = if epoll { Driver::Epoll } else { Driver::Auto };
        let got = block_on(driver, |_| async {
            let Conn { mut reader, mut writer, handle: _handle } = secured(address).await;
            let mut got = Vec::new();
            {
                let mut reading = std::pin::pin!(async {
                    let mut rooms = rooms.iter().cycle();
                    while got.len() < down {
                        let room = rooms.next().copied().unwrap_or(1);
                        let (read, buf) = reader.read(Buf::with_capacity(room)).await;
                        assert_eq!(read.expect("bytes"), buf.len());
                        got.extend_from_slice(buf.bytes());
                    }
                });
                let mut writing = std::pin::pin!(async {
                    let (mut rest, mut pieces) = (asked.as_slice(), pieces.iter().cycle());
                    while !rest.is_empty() {
                        let length = pieces.next().copied().unwrap_or(1).min(rest.len());
                        writer.write_all(buf(&rest[..length])).await.0.expect("sent");
                        rest = &rest[length..];
                    }
                });
                let both = async {
                    match race(reading.as_mut(), writing.as_mut()).await {
                        Either::Left(()) => writing.await,
                        Either::Right(()) => reading.await,
                    }
                };
                within(soon(), both).await.expect("an end");
            }
            got
        });
        prop_assert!(got.expect("a driver") == answered);
        prop_assert!(server.join().expect("a server") == asked);
    }
}

#[test]
fn a_read_survives_the_future_that_waited_for_it() {
    for driver in DRIVERS {
        let (address, server) = serve(|mut stream| {
            let mut go = [0; 1];
            for i in 0..50u8 {
                stream.read_exact(&mut go).expect("a word");
                stream.write_all(&[i]).expect("an answer");
            }
        });
        let got = block_on(driver, |_| async {
            let mut conn = secured(address).await;
            let mut got = Vec::new();
            for _ in 0..50 {
                conn.reader.arm(Buf::with_capacity(16));
                {
                    let (done, write) =
                        (std::pin::pin!(conn.reader.done()), std::pin::pin!(conn.writer.write_all(buf(b"g"))));
                    if let Either::Left((result, buf)) = race(done, write).await {
                        panic!("read before it was asked for: {result:?} {buf:?}");
                    }
                }
                assert!(conn.reader.armed());
                let (result, buf) = within(soon(), conn.reader.done()).await.expect("an answer");
                result.expect("a byte");
                got.extend_from_slice(buf.bytes());
            }
            got
        });
        server.join().expect("a server");
        assert_eq!(got.expect("a driver"), (0..50).collect::<Vec<u8>>());
    }
}

#[test]
fn what_is_written_to_be_kept_comes_back_whole() {
    for driver in DRIVERS {
        let (address, server) = serve(|mut stream| {
            let mut got = Vec::new();
            stream.read_to_end(&mut got).expect("an end that was announced");
            got
        });
        let piece = pattern(40_000); // several records
        let kept = block_on(driver, |_| async {
            let mut conn = secured(address).await;
            let mut buf = buf(&piece);
            for _ in 0..2 {
                let (sent, back) = conn.writer.write_and_keep(buf).await;
                sent.expect("sent");
                buf = back;
            }
            buf.bytes().to_vec()
        });
        assert!(kept.expect("a driver") == piece);
        assert!(server.join().expect("a server") == [piece.as_slice(), &piece].concat());
    }
}

/// Tickets and new keys come in on a connection that rests; then its end, with a goodbye or without.
#[test]
fn a_connection_at_rest_is_quiet_until_it_ends() {
    for (driver, goodbye) in DRIVERS.into_iter().flat_map(|driver| [(driver, true), (driver, false)]) {
        let (go, gone) = std::sync::mpsc::channel();
        let (address, server) = serve(move |mut stream| {
            stream.write_all(b"hello").expect("sent"); // with the tickets
            stream.conn.refresh_traffic_keys().expect("new keys");
            stream.flush().expect("sent");
            gone.recv().expect("a word");
            if goodbye {
                stream.conn.send_close_notify();
                stream.flush().expect("sent");
            }
        });
        let read = block_on(driver, |_| async {
            let mut conn = secured(address).await;
            let (read, _) = conn.reader.read(Buf::with_capacity(64)).await;
            assert_eq!(read.expect("bytes"), 5);
            conn.reader.arm(Buf::with_capacity(64));
            for _ in 0..20 {
                assert!(conn.reader.finished().is_none(), "a ticket is no data");
                sleep_until(now() + Duration::from_millis(1)).await;
            }
            go.send(()).expect("a server");
            let (read, _) = within(soon(), conn.reader.done()).await.expect("an end");
            assert_eq!(conn.reader.tls_failure(), None, "an end is no failure of TLS");
            read.map_err(|error| error.kind())
        });
        server.join().expect("a server");
        let expected = if goodbye { Ok(0) } else { Err(std::io::ErrorKind::UnexpectedEof) };
        assert_eq!(read.expect("a driver"), expected);
    }
}

/// What follows good records is found to be bad after they were read.
#[test]
fn bytes_before_a_broken_record_are_not_lost() {
    for driver in DRIVERS {
        let (address, server) = serve(|mut stream| {
            stream.write_all(b"good").expect("sent");
            stream.sock.write_all(&[23, 3, 3, 0, 32]).expect("sent");
            stream.sock.write_all(&[7; 32]).expect("sent");
            let mut rest = Vec::new();
            let _ = stream.sock.read_to_end(&mut rest); // until the other side has seen it
        });
        let failure = block_on(driver, |_| async {
            let mut conn = secured(address).await;
            let mut got = Vec::new();
            let error = loop {
                let (read, buf) = within(soon(), conn.reader.read(Buf::with_capacity(64))).await.expect("an end");
                got.extend_from_slice(buf.bytes());
                if let Err(error) = read {
                    break error;
                }
            };
            assert_eq!((got.as_slice(), error.kind()), (&b"good"[..], std::io::ErrorKind::InvalidData));
            conn.reader.tls_failure()
        });
        server.join().expect("a server");
        assert!(failure.expect("a driver").is_some());
    }
}

#[test]
fn a_handshake_ends_with_its_deadline() {
    for driver in DRIVERS {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let failed = block_on(driver, |_| async {
            let client = TlsClient::new(Trust::Anyone, Vec::new(), None);
            let conn = connect(&address.into(), soon()).await.expect("a connection");
            secure(conn, &client, name(), now() + Duration::from_millis(20)).await.err()
        });
        assert!(matches!(failed.expect("a driver"), Some(SecureError::TimedOut)));
    }
}
