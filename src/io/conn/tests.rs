//! Tests of connections, on both drivers.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use super::*;
use crate::io::{Driver, ListenSocket, bind_reuseport, block_on, connect, now, race, race::Either, within};

const DRIVERS: [Driver; 2] = [Driver::Auto, Driver::Epoll];

fn soon() -> Instant {
    now() + Duration::from_secs(5)
}

#[test]
fn a_read_survives_the_future_that_waited_for_it() {
    for driver in DRIVERS {
        let origin = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = origin.local_addr().unwrap();
        let peer = std::thread::spawn(move || {
            let (mut stream, _) = origin.accept().unwrap();
            let mut go = [0; 1];
            for i in 0..200u8 {
                stream.read_exact(&mut go).unwrap();
                stream.write_all(&[i]).unwrap();
            }
        });
        let got = block_on(driver, |_| async {
            let mut conn = connect(&address.into(), soon()).await.unwrap();
            let mut got = Vec::new();
            for _ in 0..200 {
                conn.reader.arm(Buf::with_capacity(16));
                // The write wins the race, so the read's future is dropped while the peer answers.
                let mut go = Buf::with_capacity(1);
                go.extend(b"g");
                {
                    let done = std::pin::pin!(conn.reader.done());
                    let write = std::pin::pin!(conn.writer.write_all(go));
                    if let Either::Left((result, buf)) = race(done, write).await {
                        panic!("read before it was asked for: {result:?} {buf:?}");
                    }
                }
                let (result, buf) = conn.reader.done().await;
                result.unwrap();
                got.extend_from_slice(buf.bytes());
            }
            got
        })
        .unwrap();
        peer.join().unwrap();
        assert_eq!(got, (0..200u8).collect::<Vec<_>>());
    }
}

#[test]
fn what_is_written_to_be_kept_comes_back_whole() {
    for driver in DRIVERS {
        let origin = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = origin.local_addr().unwrap();
        let peer = std::thread::spawn(move || {
            let (mut stream, _) = origin.accept().unwrap();
            let mut got = Vec::new();
            stream.read_to_end(&mut got).unwrap();
            got
        });
        let kept = block_on(driver, |_| async {
            let mut conn = connect(&address.into(), soon()).await.unwrap();
            let mut buf = Buf::with_capacity(64);
            buf.clear_with_margins(4, 4);
            buf.extend(b"piece");
            assert!(buf.prepend(b"5\r\n"));
            for _ in 0..2 {
                let (sent, back) = conn.writer.write_and_keep(buf).await;
                sent.unwrap();
                buf = back;
            }
            buf.bytes().to_vec()
        })
        .unwrap();
        assert_eq!(kept, b"5\r\npiece");
        assert_eq!(peer.join().unwrap(), b"5\r\npiece5\r\npiece");
    }
}

#[test]
fn a_started_read_tells_when_the_peer_leaves() {
    for driver in DRIVERS {
        let origin = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = origin.local_addr().unwrap();
        let read = block_on(driver, |_| async {
            let mut conn = connect(&address.into(), soon()).await.unwrap();
            let (stream, _) = origin.accept().unwrap();
            conn.reader.arm(Buf::with_capacity(16));
            assert!(conn.reader.finished().is_none());
            crate::io::sleep_until(now() + Duration::from_millis(5)).await;
            assert!(conn.reader.finished().is_none());
            drop(stream);
            loop {
                crate::io::sleep_until(now() + Duration::from_millis(1)).await;
                if let Some((result, _)) = conn.reader.finished() {
                    break result.unwrap();
                }
            }
        })
        .unwrap();
        assert_eq!(read, 0);
    }
}

#[test]
fn a_started_read_is_finished_by_who_waits_for_it() {
    for driver in DRIVERS {
        let origin = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = origin.local_addr().unwrap();
        let got = block_on(driver, |_| async {
            let mut conn = connect(&address.into(), soon()).await.unwrap();
            let (mut stream, _) = origin.accept().unwrap();
            conn.reader.arm(Buf::with_capacity(16));
            assert!(conn.reader.finished().is_none());
            stream.write_all(b"late").unwrap();
            let (result, buf) = within(soon(), conn.reader.done()).await.unwrap();
            result.unwrap();
            buf.bytes().to_vec()
        })
        .unwrap();
        assert_eq!(got, b"late");
    }
}

#[test]
fn shutdown_ends_the_read_in_flight() {
    for driver in DRIVERS {
        let origin = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = origin.local_addr().unwrap();
        let read = block_on(driver, |_| async {
            let mut conn = connect(&address.into(), soon()).await.unwrap();
            let handle = conn.handle.clone();
            crate::io::spawn(async move {
                crate::io::sleep_until(now() + Duration::from_millis(5)).await;
                handle.shutdown_read();
            });
            within(soon(), conn.reader.read(Buf::with_capacity(16))).await.map(|(result, _)| result.unwrap())
        })
        .unwrap();
        assert_eq!(read, Some(0));
    }
}

#[test]
fn a_parked_connection_goes_on_in_another_thread() {
    for driver in DRIVERS {
        let origin = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = origin.local_addr().unwrap();
        let peer = std::thread::spawn(move || {
            let (mut stream, _) = origin.accept().unwrap();
            let mut got = [0; 4];
            stream.read_exact(&mut got).unwrap();
            stream.write_all(&got).unwrap();
            stream.read_exact(&mut got).unwrap();
            assert_eq!(&got, b"pong");
            stream.write_all(&got).unwrap();
            assert_eq!(stream.read(&mut got).unwrap(), 0, "closed by its last holder, and not before");
        });
        async fn ask(conn: &mut Conn, word: &[u8]) {
            let mut buf = Buf::with_capacity(16);
            buf.extend(word);
            conn.writer.write_all(buf).await.0.unwrap();
            let (read, buf) = within(soon(), conn.reader.read(Buf::with_capacity(16))).await.unwrap();
            assert_eq!((read.unwrap(), buf.bytes()), (4, word));
        }
        let parked = block_on(driver, |_| async {
            let mut conn = connect(&address.into(), soon()).await.unwrap();
            ask(&mut conn, b"ping").await;
            conn.park().unwrap()
        })
        .unwrap();
        let other = std::thread::spawn(move || {
            block_on(driver, |_| async {
                let mut conn = parked.unpark().unwrap();
                ask(&mut conn, b"pong").await;
                drop(conn);
                crate::io::sleep_until(now() + Duration::from_millis(1)).await; // the close is an operation, too
            })
            .unwrap();
        });
        other.join().unwrap();
        peer.join().unwrap();
    }
}

#[test]
fn a_connection_with_a_read_in_flight_is_not_parked_but_closed() {
    for driver in DRIVERS {
        let origin = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = origin.local_addr().unwrap();
        block_on(driver, |_| async {
            let mut conn = connect(&address.into(), soon()).await.unwrap();
            let (mut stream, _) = origin.accept().unwrap();
            conn.reader.arm(Buf::with_capacity(16));
            assert!(conn.reader.finished().is_none());
            assert!(conn.park().is_none());
            assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
        })
        .unwrap();
    }
}

#[test]
fn an_abort_is_a_reset_and_ends_the_read_in_flight() {
    for driver in DRIVERS {
        let origin = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = origin.local_addr().unwrap();
        let (own, theirs) = block_on(driver, |_| async {
            let mut conn = connect(&address.into(), soon()).await.unwrap();
            let (mut stream, _) = origin.accept().unwrap();
            conn.reader.arm(Buf::with_capacity(16));
            assert!(conn.reader.finished().is_none());
            conn.handle.abort();
            let own = within(soon(), conn.reader.done()).await.expect("it ends").0;
            drop(conn);
            (own, stream.read(&mut [0; 1]))
        })
        .unwrap();
        assert!(!matches!(own, Ok(1..)), "{own:?}");
        assert_eq!(theirs.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}

#[test]
fn a_connect_to_a_closed_port_is_refused() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for driver in DRIVERS {
        let error = block_on(driver, |_| async { connect(&free.into(), soon()).await.unwrap_err() }).unwrap();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}

#[test]
fn a_stopped_listener_ends_its_accept_and_leaks_nothing() {
    for driver in DRIVERS {
        block_on(driver, |_| async {
            let listener =
                std::rc::Rc::new(ListenSocket::from_std(bind_reuseport(([127, 0, 0, 1], 0).into()).unwrap()).unwrap());
            let stopper = listener.clone();
            crate::io::spawn(async move {
                crate::io::sleep_until(now() + Duration::from_millis(5)).await;
                stopper.stop();
            });
            assert!(listener.accept().await.unwrap().is_none());
            assert!(listener.accept().await.unwrap().is_none());
        })
        .unwrap();
    }
}
