//! Comparing a mirror's answers with the original's: the counters, and the requests that `/mirror_diffs` shows.

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use serde_json::Value;

use super::mirrors::{MIRROR_CLUSTER, entry, mirror_counts, mirror_stat};
use super::{Bench, host, on_each_driver};
use crate::support::client::Client;
use crate::support::origin::Origin;
use crate::support::ports;
use crate::support::ringway::{Driver, ORIGIN_CLUSTER, Ringway};
use crate::support::wait::{PATIENCE, eventually};

on_each_driver![
    statuses_are_compared,
    bodies_are_compared_as_their_bytes,
    the_last_fifty_differences_are_shown,
    no_answer_is_a_difference_too,
    what_nobody_can_tell_is_not_compared,
    nothing_is_compared_unasked,
    either_may_answer_first,
];

/// A VirtualService for `compared.example.com` whose mirror's answers are compared: `true` or `body`.
fn compared(how: &str, fields: &str) -> String {
    let fields = format!("mirror: {{host: mirror.internal}}\n    {fields}");
    let annotations = format!("{{name: compared, annotations: {{ringway.dev/mirror-compare: '{how}'}}}}");
    host("compared", &fields).replace("{name: compared}", &annotations)
}

fn bench(driver: Driver, cpus: &[usize], (origin, mirror): (Origin, u16), how: &str, fields: &str) -> Bench {
    Bench::with(driver, origin, |setup| setup.cpus(cpus).yaml(compared(how, fields)).yaml(entry("mirror", &[mirror])))
}

/// An origin that takes its answer from the request's query: `status`, `body`, `chunked`.
fn told(own: &'static str) -> Origin {
    Origin::start(move |peer| {
        while let Some(request) = peer.request()? {
            let query = request.line().split(['?', ' ']).nth(2).unwrap_or_default().to_owned();
            let of = |name: &str| {
                let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
                pairs.rev().find(|(key, _)| *key == name || *key == format!("{own}-{name}")).map(|(_, value)| value)
            };
            let (status, body) = (of("status").unwrap_or("200"), of("body").unwrap_or("same"));
            let message = if of("chunked").is_some() {
                let chunks: String = body.chars().map(|letter| format!("1\r\n{letter}\r\n")).collect();
                format!("HTTP/1.1 {status} X\r\ntransfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")
            } else {
                format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len())
            };
            peer.send(message)?;
        }
        Ok(())
    })
}

fn get(query: &str) -> String {
    format!("GET /compared?{query} HTTP/1.1\r\nHost: compared.example.com\r\n\r\n")
}

/// What `/mirror_diffs` shows, the newest first.
fn differences(ringway: &Ringway) -> Vec<Value> {
    let shown = ringway.admin("/mirror_diffs?format=json");
    assert_eq!(shown.header("content-type"), Some("application/json"));
    let document: Value = serde_json::from_str(&shown.text()).expect("JSON");
    document["mirror_diffs"].as_array().expect("a list").clone()
}

/// The counters of comparisons, those of 0 left out.
fn counted(ringway: &Ringway) -> Vec<String> {
    let stats = ringway.admin("/stats?usedonly&filter=mirror_(match|mismatch|uncompared|status)").text();
    let prefix = format!("cluster.{MIRROR_CLUSTER}.mirror_");
    stats.lines().map(|line| line.strip_prefix(&prefix).unwrap_or_else(|| panic!("{line}")).to_owned()).collect()
}

/// Asks, and waits for the judgement.
#[track_caller]
fn ask(bench: &Bench, client: &mut Client, query: &str, counter: &str) {
    let before = mirror_stat(&bench.ringway, counter);
    client.ask(get(query));
    mirror_counts(&bench.ringway, counter, before + 1);
}

#[track_caller]
fn finish(bench: Bench, mirror: Option<Origin>) {
    bench.ringway.quiet();
    drop(mirror);
    let stopped = bench.finish();
    assert!(!stopped.said.contains("panicked"), "{}", stopped.said);
}

fn statuses_are_compared(driver: Driver) {
    for cpus in [&[0][..], &[0, 1]] {
        let mirror = told("mirror");
        let bench = bench(driver, cpus, (told("origin"), mirror.port()), "true", "");
        let mut client = bench.client();
        ask(&bench, &mut client, "status=200", "mirror_match");
        ask(&bench, &mut client, "status=404", "mirror_match");
        ask(&bench, &mut client, "origin-body=a&mirror-body=b", "mirror_match");
        assert!(differences(&bench.ringway).is_empty());
        ask(&bench, &mut client, "status=200&mirror-status=500", "mirror_mismatch");
        ask(&bench, &mut client, "status=500&mirror-status=200", "mirror_mismatch");
        let expected = [
            "match: 3",
            "mismatch: 2",
            "status.200_200: 2",
            "status.200_500: 1",
            "status.404_404: 1",
            "status.500_200: 1",
        ];
        assert_eq!(counted(&bench.ringway), expected);
        let shown =
            eventually("both differences", || Some(differences(&bench.ringway)).filter(|shown| shown.len() == 2));
        let newest = &shown[0];
        assert_eq!(newest["method"], "GET");
        assert_eq!(newest["path"], "/compared?status=500&mirror-status=200");
        assert_eq!(newest["differs"], "status");
        for (side, status, cluster) in [("original", 500, ORIGIN_CLUSTER), ("mirror", 200, MIRROR_CLUSTER)] {
            assert_eq!(
                (&newest[side]["status"], &newest[side]["cluster"]),
                (&status.into(), &cluster.into()),
                "{newest}"
            );
            assert!(newest[side]["duration_ms"].as_u64().is_some_and(|took| took < 20_000), "{newest}");
            assert_eq!(newest[side]["response_flags"], "-");
        }
        assert_eq!((&shown[1]["original"]["status"], &shown[1]["mirror"]["status"]), (&200.into(), &500.into()));
        let text = bench.ringway.admin("/mirror_diffs").text();
        let line = text.lines().nth(1).expect("two lines");
        assert!(line.contains("Z GET /compared?status=200&mirror-status=500: original 200 in "), "{line}");
        assert!(line.ends_with(&format!(" from {MIRROR_CLUSTER}")) && line.contains("; mirror 500 in "), "{line}");
        drop(client);
        finish(bench, Some(mirror));
    }
}

/// Whatever their framing, and however they are cut into pieces.
fn bodies_are_compared_as_their_bytes(driver: Driver) {
    let mirror = told("mirror");
    let bench = bench(driver, &[0], (told("origin"), mirror.port()), "body", "");
    let mut client = bench.client();
    let long = "0123456789".repeat(4_000);
    ask(&bench, &mut client, "body=a", "mirror_match");
    ask(&bench, &mut client, "body=", "mirror_match");
    ask(&bench, &mut client, "body=hello&origin-chunked=1", "mirror_match");
    ask(&bench, &mut client, "body=hello&mirror-chunked=1", "mirror_match");
    ask(&bench, &mut client, "status=204&body=", "mirror_match");
    ask(&bench, &mut client, "body=abc&mirror-body=abd", "mirror_mismatch");
    ask(&bench, &mut client, "body=abc&mirror-body=ab", "mirror_mismatch");
    ask(&bench, &mut client, "body=abc&mirror-body=", "mirror_mismatch");
    ask(&bench, &mut client, "origin-chunked=1&body=abc&mirror-body=abcd", "mirror_mismatch");
    let shown = eventually("all differences", || Some(differences(&bench.ringway)).filter(|shown| shown.len() == 4));
    assert!(shown.iter().all(|shown| shown["differs"] == "body" && shown["original"]["status"] == 200), "{shown:#?}");
    assert!(bench.ringway.admin("/mirror_diffs").text().lines().all(|line| line.ends_with(", the bodies differ")));
    drop(client);
    finish(bench, Some(mirror));

    // A long one comes in many pieces.
    let mirror = Origin::echo();
    let bench = self::bench(driver, &[0], (Origin::echo(), mirror.port()), "body", "");
    let mut client = bench.client();
    for number in 1..=3 {
        let head = format!("POST /x HTTP/1.1\r\nHost: compared.example.com\r\ncontent-length: {}\r\n\r\n", long.len());
        assert_eq!(client.ask(head + &long).text(), long);
        mirror_counts(&bench.ringway, "mirror_match", number);
    }
    assert_eq!(counted(&bench.ringway), ["match: 3", "status.200_200: 3"]);
    drop(client);
    finish(bench, Some(mirror));
}

fn the_last_fifty_differences_are_shown(driver: Driver) {
    let mirror = told("mirror");
    let bench = bench(driver, &[0], (told("origin"), mirror.port()), "true", "");
    let mut client = bench.client();
    for number in 0..60 {
        let query = format!("number={number}&mirror-status=500");
        ask(&bench, &mut client, &query, "mirror_mismatch");
    }
    let shown = eventually("the last one shown", || {
        let shown = differences(&bench.ringway);
        let is_it = |shown: &Value| shown["path"] == "/compared?number=59&mirror-status=500";
        shown.first().is_some_and(is_it).then_some(shown)
    });
    assert_eq!(shown.len(), 50);
    assert_eq!(shown[49]["path"], "/compared?number=10&mirror-status=500");
    assert_eq!(bench.ringway.admin("/mirror_diffs").text().lines().count(), 50);
    assert_eq!(bench.ringway.admin("/mirror_diffs?format=xml").status, 400);
    drop(client);
    finish(bench, Some(mirror));
}

fn no_answer_is_a_difference_too(driver: Driver) {
    // The mirror is down.
    let bench = bench(driver, &[0], (told("origin"), ports::free()), "true", "retries: {attempts: 0}");
    let mut client = bench.client();
    ask(&bench, &mut client, "", "mirror_mismatch");
    assert_eq!(counted(&bench.ringway), ["mismatch: 1", "status.200_none: 1"]);
    let shown = eventually("it is shown", || differences(&bench.ringway).pop());
    assert_eq!((&shown["mirror"]["status"], &shown["mirror"]["response_flags"]), (&Value::Null, &"UF".into()));
    assert!(bench.ringway.admin("/mirror_diffs").text().contains("; mirror no answer (UF) in "));
    drop(client);
    finish(bench, None);

    // The origin breaks off before and within its answer, and answers too late; the mirror does not.
    let mirror = told("mirror");
    let origin = Origin::start(|peer| {
        let Some(request) = peer.request()? else { return Ok(()) };
        if request.line().contains("late") {
            peer.wait_closed()?;
        } else if request.line().contains("cut") {
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")?;
        }
        Ok(())
    });
    let bench = self::bench(driver, &[0], (origin, mirror.port()), "true", "timeout: 1s\n    retries: {attempts: 0}");
    for (number, (query, flags)) in [("reset", "UC"), ("cut", "UPE"), ("late", "UT")].into_iter().enumerate() {
        let mut client = bench.client();
        client.send(get(query));
        let _ = client.try_response_to("GET"); // it may be cut off
        mirror_counts(&bench.ringway, "mirror_mismatch", number as u64 + 1);
        let shown = eventually("it is shown", || {
            let shown = differences(&bench.ringway);
            shown.into_iter().next().filter(|shown| shown["path"] == format!("/compared?{query}"))
        });
        assert_eq!((&shown["original"]["status"], &shown["original"]["response_flags"]), (&Value::Null, &flags.into()));
        assert_eq!(shown["mirror"]["status"], 200);
    }
    assert_eq!(counted(&bench.ringway), ["mismatch: 3", "status.none_200: 3"]);
    finish(bench, Some(mirror));
}

/// Neither answered, or the client did not wait for its answer.
fn what_nobody_can_tell_is_not_compared(driver: Driver) {
    let origin = Origin::start(|peer| {
        if peer.request()?.is_some_and(|request| request.line().contains("left")) {
            peer.wait_closed()?;
        }
        Ok(())
    });
    let mirror = Origin::start(|peer| {
        while let Some(request) = peer.request()? {
            if request.line().contains("left") {
                peer.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
            } else {
                return Ok(());
            }
        }
        Ok(())
    });
    let bench = bench(driver, &[0], (origin, mirror.port()), "body", "retries: {attempts: 0}");
    assert_eq!(bench.client().ask(get("neither")).status, 503);
    mirror_counts(&bench.ringway, "mirror_uncompared", 1);
    let mut client = bench.client();
    client.send(get("left"));
    mirror_counts(&bench.ringway, "internal.upstream_rq_200", 1);
    assert_eq!(mirror_stat(&bench.ringway, "mirror_uncompared"), 1, "nobody knows yet");
    client.reset();
    mirror_counts(&bench.ringway, "mirror_uncompared", 2);
    assert_eq!(counted(&bench.ringway), ["uncompared: 2"]);
    assert!(differences(&bench.ringway).is_empty());
    finish(bench, Some(mirror));
}

fn nothing_is_compared_unasked(driver: Driver) {
    let mirror = told("mirror");
    let bench = Bench::with(driver, told("origin"), |setup| {
        let yaml = host("compared", "mirror: {host: mirror.internal}");
        setup.yaml(yaml).yaml(entry("mirror", &[mirror.port()]))
    });
    assert_eq!(bench.client().ask(get("mirror-status=500")).status, 200);
    mirror_counts(&bench.ringway, "internal.upstream_rq_500", 1);
    bench.ringway.quiet();
    assert!(counted(&bench.ringway).is_empty() && differences(&bench.ringway).is_empty());
    finish(bench, Some(mirror));
}

/// Whoever comes second brings the judgement, and until then the request is over for the client all the same.
fn either_may_answer_first(driver: Driver) {
    for cpus in [&[0][..], &[0, 1]] {
        let gated = |gate: std::sync::mpsc::Receiver<()>, status: u16| {
            let gate = Mutex::new(gate);
            Origin::start(move |peer| {
                while peer.request()?.is_some() {
                    let _ = gate.lock().expect("one at a time").recv_timeout(PATIENCE);
                    peer.send(format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\nok"))?;
                }
                Ok(())
            })
        };
        let ((go_origin, origin_waits), (go_mirror, mirror_waits)) = (channel(), channel());
        let mirror = gated(mirror_waits, 201);
        let bench = bench(driver, cpus, (gated(origin_waits, 200), mirror.port()), "body", "");
        for (number, mirror_first) in [true, false, true, false].into_iter().enumerate() {
            let mut client = bench.client();
            client.send(get(""));
            if mirror_first {
                go_mirror.send(()).expect("the mirror waits");
                mirror_counts(&bench.ringway, "internal.upstream_rq_201", number as u64 + 1);
                assert_eq!(mirror_stat(&bench.ringway, "mirror_mismatch"), number as u64);
                go_origin.send(()).expect("the origin waits");
                assert_eq!(client.response().status, 200);
            } else {
                go_origin.send(()).expect("the origin waits");
                assert_eq!(client.response().status, 200);
                eventually("the copy at the mirror", || (mirror.requests().len() > number).then_some(()));
                std::thread::sleep(Duration::from_millis(5)); // so that the mirror's time is the longer one
                assert_eq!(mirror_stat(&bench.ringway, "mirror_mismatch"), number as u64);
                go_mirror.send(()).expect("the mirror waits");
            }
            mirror_counts(&bench.ringway, "mirror_mismatch", number as u64 + 1);
            let shown =
                eventually("it is shown", || Some(differences(&bench.ringway)).filter(|shown| shown.len() > number));
            let took = |side: &str| shown[0][side]["duration_ms"].as_u64().expect("milliseconds");
            if !mirror_first {
                assert!(took("mirror") > took("original"), "{}", shown[0]);
            }
        }
        assert_eq!(counted(&bench.ringway), ["mismatch: 4", "status.200_201: 4"]);
        finish(bench, Some(mirror));
    }
}
