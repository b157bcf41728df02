//! Traces: each hop is a span of its own in the trace that its caller began.

use super::{Bench, get, on_each_driver, says_path};
use crate::support::ringway::{Driver, Setup};

on_each_driver![each_hop_is_a_span, nothing_changes_without_tracing];

const TRACE: &str = "463ac35c9f6413ad48485a3953bb6124";
const SPAN: &str = "a2fb4a1d1a96d312";

fn traced(percent: &'static str) -> impl FnOnce(Setup) -> Setup {
    move |setup| {
        setup
            .mesh_config("enableTracing", "true")
            .mesh_config("defaultConfig", &format!("{{tracing: {{sampling: {percent}}}}}"))
            .mesh_config("accessLogFormat", "'%REQ(:PATH)% trace=%REQ(X-B3-TRACEID)% parent=%REQ(X-B3-PARENTSPANID)%'")
    }
}

/// The names of B3 and what the origin got of them; "" for none.
fn arrived(bench: &Bench, at: usize) -> [String; 4] {
    let request = &bench.origin.requests()[at];
    ["x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled"]
        .map(|name| request.header(name).unwrap_or_default().to_owned())
}

fn each_hop_is_a_span(driver: Driver) {
    for (percent, sampled) in [("100", "1"), ("0", "0")] {
        let bench = Bench::with(driver, says_path(), traced(percent));
        let mut client = bench.client();
        client.ask(get("/begins"));
        let with = format!("\r\nX-B3-TraceId: {TRACE}\r\nX-B3-SpanId: {SPAN}\r\nx-b3-sampled: 1\r\n\r\n");
        client.ask(get("/goes-on").replace("\r\n\r\n", &with));
        let [trace, span, parent, decided] = arrived(&bench, 0);
        assert_eq!(
            (trace.len(), span.len(), parent.as_str(), decided.as_str()),
            (32, 16, "", sampled),
            "{trace} {span}"
        );
        let [trace, span, parent, decided] = arrived(&bench, 1);
        assert_eq!((trace.as_str(), parent.as_str(), decided.as_str()), (TRACE, SPAN, "1"));
        assert!(span.len() == 16 && span != SPAN, "{span}");
        let lines =
            bench.origin.requests()[1].head.headers.iter().filter(|(name, _)| name.starts_with("x-b3-")).count();
        assert_eq!(lines, 4, "nothing stands there twice, under whichever spelling");
        let line = bench.ringway.logged(&["/goes-on"]);
        assert_eq!(line, format!("/goes-on trace={TRACE} parent={SPAN}"));
        drop(client);
        bench.finish();
    }
}

fn nothing_changes_without_tracing(driver: Driver) {
    let bench = Bench::new(driver, says_path());
    let mut client = bench.client();
    client.ask(get("/a"));
    client.ask(
        get("/b").replace("\r\n\r\n", &format!("\r\nx-b3-traceid: {TRACE}\r\nx-b3-spanid: {SPAN}\r\nb3: 1\r\n\r\n")),
    );
    assert_eq!(arrived(&bench, 0), ["", "", "", ""]);
    assert_eq!(arrived(&bench, 1), [TRACE, SPAN, "", ""]);
    assert_eq!(bench.origin.requests()[1].header("b3"), Some("1"));
    drop(client);
    bench.finish();
}
