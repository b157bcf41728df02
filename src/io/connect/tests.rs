//! Connections to Unix domain sockets, on both drivers.

use std::io::{ErrorKind, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::io::{Buf, Driver, block_on, now, sleep_until};

const DRIVERS: [Driver; 2] = [Driver::Auto, Driver::Epoll];

fn soon() -> Instant {
    now() + Duration::from_secs(5)
}

fn at(path: &Path) -> EndpointAddress {
    EndpointAddress::Unix(path.to_str().expect("text").into())
}

/// A directory of the test's own, and a path in it.
fn place() -> (tempfile::TempDir, EndpointAddress) {
    let directory = tempfile::tempdir().unwrap();
    let address = at(&directory.path().join("s"));
    (directory, address)
}

/// Why there is no connection, on each driver.
fn refusals(address: &EndpointAddress) -> [ErrorKind; 2] {
    let refusal = |driver| block_on(driver, |_| async { connect(address, soon()).await.unwrap_err() }).unwrap();
    DRIVERS.map(|driver| refusal(driver).kind())
}

async fn ask(conn: &mut Conn, word: &[u8]) {
    let mut buf = Buf::with_capacity(16);
    buf.extend(word);
    conn.writer.write_all(buf).await.0.unwrap();
    let (read, buf) = within(soon(), conn.reader.read(Buf::with_capacity(16))).await.unwrap();
    assert_eq!((read.unwrap(), buf.bytes()), (word.len(), word));
}

/// Sends everything back; how many bytes that was.
fn echo(mut stream: UnixStream) -> usize {
    let (mut sum, mut got) = (0, [0; 16]);
    loop {
        match stream.read(&mut got).unwrap() {
            0 => return sum,
            n => {
                stream.write_all(&got[..n]).unwrap();
                sum += n;
            }
        }
    }
}

#[test]
fn it_speaks_waits_and_goes_on_in_another_thread() {
    for driver in DRIVERS {
        let (directory, address) = place();
        let origin = UnixListener::bind(directory.path().join("s")).unwrap();
        let peer = std::thread::spawn(move || echo(origin.accept().unwrap().0));
        let parked = block_on(driver, |_| async {
            let mut conn = connect(&address, soon()).await.unwrap();
            assert_eq!(conn.handle.local_addr().unwrap_err().kind(), ErrorKind::Unsupported);
            conn.handle.keep_alive(Some(Duration::from_secs(1)), None, None).unwrap_err();
            ask(&mut conn, b"ping").await;
            // A read that finds nothing waits, and is there for what comes.
            conn.reader.arm(Buf::with_capacity(16));
            assert!(conn.reader.finished().is_none());
            sleep_until(now() + Duration::from_millis(1)).await;
            assert!(conn.reader.finished().is_none());
            let mut late = Buf::with_capacity(16);
            late.extend(b"late");
            conn.writer.write_all(late).await.0.unwrap();
            assert_eq!(within(soon(), conn.reader.done()).await.unwrap().1.bytes(), b"late");
            conn.park().unwrap()
        })
        .unwrap();
        let other = std::thread::spawn(move || {
            block_on(driver, |_| async {
                let mut conn = parked.unpark().unwrap();
                ask(&mut conn, b"pong").await;
                drop(conn);
                sleep_until(now() + Duration::from_millis(1)).await; // the close is an operation, too
            })
            .unwrap();
        });
        other.join().unwrap();
        assert_eq!(peer.join().unwrap(), 12);
    }
}

#[test]
fn more_than_the_kernel_takes_at_once_arrives() {
    const MUCH: usize = 4 << 20;
    for driver in DRIVERS {
        let (directory, address) = place();
        let origin = UnixListener::bind(directory.path().join("s")).unwrap();
        let peer = std::thread::spawn(move || {
            let mut got = Vec::new();
            origin.accept().unwrap().0.read_to_end(&mut got).unwrap();
            got.len()
        });
        block_on(driver, |_| async {
            let mut conn = connect(&address, soon()).await.unwrap();
            let mut buf = Buf::with_capacity(MUCH);
            buf.extend(&vec![b'x'; MUCH]);
            within(soon(), std::pin::pin!(conn.writer.write_all(buf))).await.expect("in time").0.unwrap();
            drop(conn);
            sleep_until(now() + Duration::from_millis(1)).await;
        })
        .unwrap();
        assert_eq!(peer.join().unwrap(), MUCH);
    }
}

#[test]
fn an_abstract_name_is_found() {
    for driver in DRIVERS {
        let name = format!("ringway-test-{}-{driver:?}", std::process::id());
        let origin = UnixListener::bind_addr(&UnixAddress::from_abstract_name(&name).unwrap()).unwrap();
        let peer = std::thread::spawn(move || echo(origin.accept().unwrap().0));
        block_on(driver, |_| async {
            let address = EndpointAddress::Unix(format!("@{name}").into());
            ask(&mut connect(&address, soon()).await.unwrap(), b"ping").await;
            sleep_until(now() + Duration::from_millis(1)).await;
        })
        .unwrap();
        assert_eq!(peer.join().unwrap(), 4);
    }
}

#[test]
fn an_abort_ends_both_sides() {
    for driver in DRIVERS {
        let (directory, address) = place();
        let origin = UnixListener::bind(directory.path().join("s")).unwrap();
        let theirs = block_on(driver, |_| async {
            let mut conn = connect(&address, soon()).await.unwrap();
            let (mut stream, _) = origin.accept().unwrap();
            conn.reader.arm(Buf::with_capacity(16));
            assert!(conn.reader.finished().is_none());
            conn.handle.abort();
            let own = within(soon(), conn.reader.done()).await.expect("it ends").0;
            assert!(!matches!(own, Ok(1..)), "{own:?}");
            stream.read(&mut [0; 1])
        });
        assert_eq!(theirs.unwrap().unwrap(), 0);
    }
}

#[test]
fn where_nobody_listens_nobody_is_found() {
    let (directory, address) = place();
    assert_eq!(refusals(&address), [ErrorKind::NotFound; 2]);
    drop(UnixListener::bind(directory.path().join("s")).unwrap());
    assert_eq!(refusals(&address), [ErrorKind::ConnectionRefused; 2], "the file outlives its listener");
    assert_eq!(refusals(&EndpointAddress::Unix("@ringway-nobody".into())), [ErrorKind::ConnectionRefused; 2]);
    assert_eq!(refusals(&at(&directory.path().join("x".repeat(120)))), [ErrorKind::InvalidInput; 2]);
}

/// The ring would block until somebody is accepted.
#[test]
fn a_server_that_accepts_nobody_refuses_at_once() {
    let (directory, address) = place();
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    socket.bind(&SockAddr::unix(directory.path().join("s")).unwrap()).unwrap();
    socket.listen(0).unwrap();
    let _first = UnixStream::connect(directory.path().join("s")).unwrap();
    let begun = now();
    assert_eq!(refusals(&address), [ErrorKind::WouldBlock; 2]);
    assert!(now() - begun < Duration::from_secs(4), "long before the deadline");
}
