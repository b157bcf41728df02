//! Raw bytes: CONNECT to a TCP port whose service is at a Unix domain socket, and upgrades.

use std::io::Write;

use super::{Sockets, app, finish, on_each_driver, routed};
use crate::support::client::Client;
use crate::support::origin::Origin;
use crate::support::ringway::{Driver, Ringway, Setup};
use crate::support::wait::eventually;

on_each_driver![a_tunnel_leads_to_one, an_upgrade_is_a_tunnel, a_tunnel_to_nobody_is_refused];

/// Sends back all that comes, as it comes, until the peer has sent everything.
fn echo(sockets: &Sockets) -> Origin {
    Origin::reflecting_on(sockets.bind("db"))
}

fn sidecar(driver: Driver, sockets: &Sockets) -> Ringway {
    let entry = format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: db}}\nspec: {{hosts: [db.internal], \
         addresses: [10.9.9.9], resolution: STATIC, ports: [{{number: 5432, name: tcp, protocol: TCP}}], endpoints: \
         [{{address: '{}'}}]}}\n",
        sockets.address("db")
    );
    Setup::new(driver).gateway_ports(&[]).mesh("REGISTRY_ONLY").yaml(entry).start()
}

fn connect(ringway: &Ringway) -> Client {
    let mut client = Client::connect(ringway.mesh());
    client.send("CONNECT db.internal:5432 HTTP/1.1\r\nHost: db.internal:5432\r\n\r\n");
    client
}

fn a_tunnel_leads_to_one(driver: Driver) {
    let sockets = Sockets::new();
    let origin = echo(&sockets);
    let ringway = sidecar(driver, &sockets);
    let path = sockets.path("db").display().to_string();
    for length in [5, 1_000_000] {
        let mut client = connect(&ringway);
        assert_eq!(client.response_to("CONNECT").status, 200);
        let bytes: Vec<u8> = (0..length).map(|at: usize| (at % 253) as u8).collect();
        let mut sending = client.stream().try_clone().expect("a copy of a socket");
        let sent = bytes.clone();
        let sender = std::thread::spawn(move || sending.write_all(&sent));
        assert!(client.raw(length) == bytes, "{length} bytes");
        sender.join().expect("a sender").expect("all was taken");
        client.half_close();
        client.expect_closed();
        let line = ringway.logged(&["CONNECT", &format!(" {length} {length} ")]);
        assert!(line.contains(&format!("\"{path}\" outbound|5432||db.internal ")), "{line}");
    }
    finish(ringway, origin);
}

fn a_tunnel_to_nobody_is_refused(driver: Driver) {
    let sockets = Sockets::new();
    let ringway = sidecar(driver, &sockets);
    let mut client = connect(&ringway);
    assert_eq!(client.response().status, 503);
    client.expect_closed();
    ringway.logged(&["CONNECT", " 503 UF", "immediate_connect_error:_No_such_file_or_directory|remote_address:/"]);
    finish(ringway, ());
}

fn an_upgrade_is_a_tunnel(driver: Driver) {
    let sockets = Sockets::new();
    let origin = Origin::start_on(sockets.bind("app"), |peer| {
        peer.request()?;
        peer.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")?;
        let said = peer.raw(5)?;
        peer.send(said)?;
        peer.wait_closed().map(drop)
    });
    let ringway = Setup::new(driver).yaml(routed("")).yaml(app(&[sockets.address("app")])).start();
    let mut client = ringway.client();
    client.send("GET / HTTP/1.1\r\nHost: a.example.com\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.response_to("CONNECT").status, 101);
    client.send("hello");
    assert_eq!(client.raw(5), b"hello");
    drop(client);
    eventually("its end at the origin", || (origin.open() == 0).then_some(()));
    finish(ringway, origin);
}
