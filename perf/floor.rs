//! The floor that `perf/compare` measures ringway against: a forwarder on ringway's own I/O layer that moves bytes and
//! understands none of them. What it costs is sockets and ring; what ringway costs beyond it is HTTP and policy.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use clap::Parser;
use ringway::io::{
    BufPool, Conn, Driver, ListenSocket, Reader, Writer, bind_reuseport, block_on, connect, now, race, spawn,
};

/// A null forwarder for measurements.
#[derive(Debug, Parser)]
struct Args {
    /// io_uring or epoll.
    #[arg(long)]
    driver: String,
    /// The CPU to run on.
    #[arg(long)]
    cpu: usize,
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// Where to forward to.
    #[arg(long)]
    origin: SocketAddr,
}

fn main() -> io::Result<()> {
    let args = Args::parse();
    let driver = if args.driver == "epoll" { Driver::Epoll } else { Driver::IoUring };
    if !core_affinity::set_for_current(core_affinity::CoreId { id: args.cpu }) {
        return Err(io::Error::other(format!("cannot run on CPU {}", args.cpu)));
    }
    let listener = bind_reuseport(args.listen)?;
    block_on(driver, |_| serve(listener, args.origin))?
}

async fn serve(listener: std::net::TcpListener, origin: SocketAddr) -> io::Result<()> {
    let listener = ListenSocket::from_std(listener)?;
    let buffers = Rc::new(BufPool::default());
    while let Some((client, _)) = listener.accept().await? {
        let buffers = buffers.clone();
        spawn(async move {
            // One upstream connection for each of the client's: nothing is shared, so nothing need be understood.
            if let Ok(upstream) = connect(&origin.into(), now() + Duration::from_secs(10)).await {
                forward(client, upstream, &buffers).await;
            }
        });
    }
    Ok(())
}

async fn forward(client: Conn, upstream: Conn, buffers: &BufPool) {
    let (mut client_reader, mut client_writer) = (client.reader, client.writer);
    let (mut upstream_reader, mut upstream_writer) = (upstream.reader, upstream.writer);
    let up = pin!(pump(&mut client_reader, &mut upstream_writer, buffers));
    let down = pin!(pump(&mut upstream_reader, &mut client_writer, buffers));
    race(up, down).await;
}

async fn pump(from: &mut Reader, to: &mut Writer, buffers: &BufPool) {
    let mut buf = buffers.body();
    loop {
        let (read, filled) = from.read(buf).await;
        let Ok(1..) = read else { return };
        let (written, emptied) = to.write_all(filled).await;
        if written.is_err() {
            return;
        }
        buf = emptied;
        buf.clear();
    }
}
