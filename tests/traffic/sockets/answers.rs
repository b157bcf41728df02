//! What works: requests over Unix domain sockets, and everything that shows or chooses an endpoint.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::{Value, json};

use super::{
    CLUSTER, Sockets, abstract_socket, app, counted, entry, field, finish, named, on_each_driver, once, routed, rule,
    start, stat, text,
};
use crate::https::{Authority, Tls};
use crate::support::client::Client;
use crate::support::origin::Origin;
use crate::support::ringway::{Driver, Ringway, Setup};
use crate::support::wait::eventually;

on_each_driver![
    requests_are_answered_over_one_connection,
    an_abstract_name_is_an_address,
    large_bodies_arrive_whole,
    workload_entries_name_them,
    they_stand_beside_addresses_with_their_weights,
    hashes_have_their_own_endpoint,
    a_mirror_is_one,
    over_tls,
    they_are_shown_everywhere,
];

fn requests_are_answered_over_one_connection(driver: Driver) {
    let sockets = Sockets::new();
    let origin = sockets.origin("app");
    let format = r#""%UPSTREAM_HOST% %UPSTREAM_REMOTE_ADDRESS% %UPSTREAM_LOCAL_ADDRESS% %UPSTREAM_PROTOCOL%\n""#;
    let ringway = start(driver, &[sockets.address("app")], |setup| setup.mesh_config("accessLogFormat", format));
    let mut client = ringway.client();
    for _ in 0..20 {
        assert_eq!(text(&mut client), "app");
    }
    assert_eq!((origin.accepted(), origin.requests().len()), (1, 20));
    counted(&ringway, "upstream_rq_200", 20);
    assert_eq!(stat(&ringway, "upstream_cx_total"), 1);
    let path = sockets.path("app").display().to_string();
    assert_eq!(ringway.logged(&[&path]), format!("{path} {path} - HTTP/1.1"), "as Envoy's");
    drop(client);
    finish(ringway, origin);
}

fn an_abstract_name_is_an_address(driver: Driver) {
    let name = format!("ringway-answers-{}-{}", driver.name(), std::process::id());
    let origin = Origin::start_on(abstract_socket(&name), named("abstract"));
    let ringway = start(driver, &[format!("unix://@{name}")], |setup| setup);
    let mut client = ringway.client();
    for _ in 0..3 {
        assert_eq!(text(&mut client), "abstract");
    }
    assert_eq!(origin.accepted(), 1);
    counted(&ringway, "upstream_rq_200", 3);
    eventually("counted", || (field(&ringway, &format!("@{name}"), "rq_success")? == "3").then_some(()));
    assert!(ringway.logged(&["\"GET /x "]).contains(&format!("\"@{name}\" {CLUSTER} - ")));
    drop(client);
    finish(ringway, origin);
}

fn large_bodies_arrive_whole(driver: Driver) {
    let sockets = Sockets::new();
    let origin = Origin::start_on(sockets.bind("app"), |peer| {
        while let Some(request) = peer.request()? {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", request.body.bytes.len());
            peer.send([head.as_bytes(), &request.body.bytes].concat())?;
        }
        Ok(())
    });
    let ringway = start(driver, &[sockets.address("app")], |setup| setup);
    let mut client = ringway.client();
    for length in [1, 70_000, 3_000_000] {
        let body: Vec<u8> = (0..length).map(|at: usize| (at % 251) as u8).collect();
        let head = format!("POST / HTTP/1.1\r\nHost: a.example.com\r\ncontent-length: {length}\r\n\r\n");
        let answer = client.ask([head.as_bytes(), &body].concat());
        assert!(answer.status == 200 && answer.body.bytes == body, "{length} bytes");
    }
    assert_eq!(origin.accepted(), 1);
    drop(client);
    finish(ringway, origin);
}

/// By the selector of a ServiceEntry, and by that of a Service whose `targetPort` is a name.
fn workload_entries_name_them(driver: Driver) {
    let sockets = Sockets::new();
    let origins = [sockets.origin("a"), sockets.origin("b")];
    let workload = |name: &str, app: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: {name}}}\nspec: {{address: \
             '{}', labels: {{app: {app}, version: v1}}}}\n",
            sockets.address(name)
        )
    };
    let selected = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: app}\nspec: {hosts: \
                    [app.internal], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}], \
                    workloadSelector: {labels: {app: a}}}\n"
        .to_owned();
    let service = "---\napiVersion: v1\nkind: Service\nmetadata: {name: kube}\nspec: {selector: {app: b}, ports: \
                   [{name: http, port: 80, targetPort: web}]}\n---\napiVersion: networking.istio.io/v1\nkind: \
                   DestinationRule\nmetadata: {name: kube}\nspec: {host: kube, subsets: [{name: v1, labels: {version: \
                   v1}}]}\n";
    let to_service =
        "match: [{uri: {prefix: /kube}}]\n    route: [{destination: {host: kube, subset: v1}}]\n  - name: rest";
    let ringway = Setup::new(driver)
        .yaml(routed(to_service))
        .yaml(selected + service + &workload("a", "a") + &workload("b", "b"))
        .start();
    let mut client = ringway.client();
    assert_eq!(text(&mut client), "a");
    assert_eq!(client.ask("GET /kube HTTP/1.1\r\nHost: a.example.com\r\n\r\n").text(), "b");
    drop(client);
    finish(ringway, origins);
}

/// Who answers so many requests.
fn answers(client: &mut Client, requests: usize) -> BTreeMap<String, usize> {
    let mut answers = BTreeMap::new();
    for _ in 0..requests {
        *answers.entry(text(client)).or_default() += 1;
    }
    answers
}

fn they_stand_beside_addresses_with_their_weights(driver: Driver) {
    let sockets = Sockets::new();
    let (a, b) = (sockets.origin("a"), sockets.origin("b"));
    let tcp = Origin::start(named("tcp"));
    let endpoints = [
        format!("{{address: '{}'}}", sockets.address("a")),
        format!("{{address: '{}', weight: 3}}", sockets.address("b")),
        format!("{{address: 127.0.0.1, ports: {{http: {}}}}}", tcp.port()),
    ];
    let ringway = Setup::new(driver)
        .yaml(routed(""))
        .yaml(entry("app", &endpoints))
        .yaml(rule("loadBalancer: {simple: ROUND_ROBIN}"))
        .start();
    let mut client = ringway.client();
    let expected = [("a", 10), ("b", 30), ("tcp", 10)].map(|(name, count)| (name.to_owned(), count));
    assert_eq!(answers(&mut client, 50), BTreeMap::from(expected));
    drop(client);
    finish(ringway, (a, b, tcp));
}

fn hashes_have_their_own_endpoint(driver: Driver) {
    let sockets = Sockets::new();
    let origins = ["a", "b", "c"].map(|name| sockets.origin(name));
    let addresses = ["a", "b", "c"].map(|name| sockets.address(name));
    for table in ["ringHash: {}", "maglev: {tableSize: 251}"] {
        let policy = format!("loadBalancer: {{consistentHash: {{httpHeaderName: x-user, {table}}}}}");
        let ringway = start(driver, &addresses, |setup| setup.yaml(rule(&policy)));
        let mut client = ringway.client();
        let mut owners: BTreeMap<String, String> = BTreeMap::new();
        for user in (0..40).chain(0..40) {
            let answer = client.ask(format!("GET / HTTP/1.1\r\nHost: a.example.com\r\nx-user: u{user}\r\n\r\n")).text();
            assert_eq!(owners.entry(format!("u{user}")).or_insert(answer.clone()), &answer, "{table}");
        }
        let all: BTreeMap<&String, ()> = owners.values().map(|owner| (owner, ())).collect();
        assert_eq!(all.len(), 3, "{table}: everybody owns some");
        drop(client);
        ringway.quiet();
        ringway.stop();
    }
    drop(origins);
}

fn a_mirror_is_one(driver: Driver) {
    let sockets = Sockets::new();
    let (origin, mirror) = (sockets.origin("app"), sockets.origin("mirror"));
    let ringway = Setup::new(driver)
        .yaml(routed("mirror: {host: mirror.internal}"))
        .yaml(app(&[sockets.address("app")]))
        .yaml(entry("mirror", &[format!("{{address: '{}'}}", sockets.address("mirror"))]))
        .start();
    let mut client = ringway.client();
    for number in 1..=5 {
        assert_eq!(text(&mut client), "app");
        eventually("the copy's answer", || {
            let answered = ringway.stat("cluster.outbound|80||mirror.internal.internal.upstream_rq_200");
            (answered == number).then_some(())
        });
    }
    assert_eq!((mirror.accepted(), mirror.requests().len()), (1, 5));
    assert_eq!(mirror.requests()[0].header("host"), Some("a.example.com-shadow"));
    drop(client);
    finish(ringway, (origin, mirror));
}

fn over_tls(driver: Driver) {
    let sockets = Sockets::new();
    let authority = Authority::new("trusted");
    let tls = Tls::new(&authority.issue(&["good.example.com"]));
    let answering = tls.over(|peer| {
        while peer.request()?.is_some() {
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret")?;
        }
        Ok(())
    });
    let origin = Origin::start_on(sockets.bind("app"), answering);
    let bundle = sockets.path("ca.pem");
    std::fs::write(&bundle, &authority.pem).expect("a certificate");
    let policy = format!(
        "tls: {{mode: SIMPLE, sni: good.example.com, subjectAltNames: [good.example.com], caCertificates: {}}}",
        bundle.display()
    );
    let ringway = start(driver, &[sockets.address("app")], |setup| setup.yaml(rule(&policy)));
    let mut client = ringway.client();
    for _ in 0..5 {
        assert_eq!(text(&mut client), "secret");
    }
    assert_eq!(origin.accepted(), 1);
    assert_eq!(tls.seen()[0].sni.as_deref(), Some("good.example.com"));
    drop(client);
    finish(ringway, origin);
}

fn json_of(ringway: &Ringway, path: &str) -> Value {
    serde_json::from_str(&ringway.admin(path).text()).expect("JSON")
}

fn they_are_shown_everywhere(driver: Driver) {
    let sockets = Sockets::new();
    let origin = sockets.origin("app");
    let header = "headers: {response: {set: {x-host: '%UPSTREAM_HOST%'}}}";
    let ringway = Setup::new(driver)
        .yaml(routed(header))
        .yaml(app(&[sockets.address("app"), "unix://@nobody".to_owned()]))
        .start();
    let path = sockets.path("app").display().to_string();
    let answer = eventually("an answer by the one that is there", || Some(once(&ringway)).filter(|a| a.status == 200));
    assert_eq!(answer.header("x-host"), Some(path.as_str()));
    assert_eq!(field(&ringway, &path, "cx_total").as_deref(), Some("1"));
    assert_eq!(field(&ringway, &path, "health_flags").as_deref(), Some("healthy"));
    assert_eq!(field(&ringway, "@nobody", "weight").as_deref(), Some("1"));

    let pipes = [json!({"pipe": {"path": path}}), json!({"pipe": {"path": "@nobody"}})];
    let clusters = json_of(&ringway, "/clusters?format=json");
    let of_app = |status: &&Value| status["name"] == CLUSTER;
    let status = clusters["cluster_statuses"].as_array().and_then(|all| all.iter().find(of_app)).expect("the cluster");
    let hosts: Vec<&Value> =
        status["host_statuses"].as_array().expect("hosts").iter().map(|host| &host["address"]).collect();
    assert_eq!(hosts, pipes.iter().collect::<Vec<_>>());
    let dump = ringway.admin("/config_dump").text();
    let dumped: Value = serde_json::from_str(&dump).expect("JSON");
    for pipe in &pipes {
        assert!(contains(&dumped, &json!({"address": pipe})), "{pipe} in {dump}");
    }

    for (flags, expected) in [
        (&[][..], [format!("{path}, weight 1"), "@nobody, weight 1".to_owned()]),
        (&["--live"], [format!("{path} is healthy"), "@nobody is healthy".to_owned()]),
    ] {
        let explained = Command::new(env!("CARGO_BIN_EXE_ringway"))
            .arg("explain")
            .arg("-c")
            .arg(ringway.config())
            .args(flags)
            .args(["-H", "Host: a.example.com", "GET", "http://127.0.0.1/x"])
            .output()
            .expect("explain");
        let said = String::from_utf8_lossy(&explained.stdout).into_owned();
        assert!(explained.status.success(), "{said}{}", String::from_utf8_lossy(&explained.stderr));
        assert!(expected.iter().all(|line| said.contains(line)), "{said}");
    }
    finish(ringway, origin);
}

/// Whether an object with all of these fields is anywhere in `value`.
fn contains(value: &Value, fields: &Value) -> bool {
    let here =
        fields.as_object().is_some_and(|fields| fields.iter().all(|(name, field)| value.get(name) == Some(field)));
    here || match value {
        Value::Array(all) => all.iter().any(|one| contains(one, fields)),
        Value::Object(all) => all.values().any(|one| contains(one, fields)),
        _ => false,
    }
}
