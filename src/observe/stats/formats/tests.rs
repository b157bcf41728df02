use super::super::{Registry, Verdict};
use super::*;

const NAME: &str = "outbound|8000|v1|httpbin.default.svc.cluster.local";

fn shown(registry: &Registry, keep: &dyn Fn(&str) -> bool, write: fn(&[Stat], &mut String)) -> String {
    let mut out = String::new();
    write(&registry.snapshot(keep), &mut out);
    out
}

fn some() -> Registry {
    let registry = Registry::new(2);
    let cluster = registry.cluster(0, NAME);
    cluster.response(200);
    cluster.response(503);
    registry.cluster(1, NAME).upstream_rq_pending_overflow.add(11);
    registry.cluster(1, "outbound|80||a.b").upstream_rq_pending_overflow.add(2);
    let http = registry.http(0, "outbound_0.0.0.0_8080");
    http.response(404);
    http.cors_origin_valid.inc();
    registry.listener(1, "0.0.0.0_8080").downstream_cx_total.add(3);
    registry.tcp(0, "outbound|5432||db.a").downstream_cx_rx_bytes_total.add(7);
    registry.route(0, "httpbin.example.com", "my.prefix").response(200);
    registry.server().live.set(1);
    registry
}

/// Names and labels are those that Envoy 1.40 printed, but for the names of clusters and prefixes, which stay whole.
#[test]
fn prometheus_names_and_labels_are_envoys() {
    let registry = some();
    let text = shown(&registry, &|_| true, write_prometheus);
    for line in [
        "# TYPE envoy_cluster_upstream_rq_pending_overflow counter",
        &format!("envoy_cluster_upstream_rq_pending_overflow{{envoy_cluster_name=\"{NAME}\"}} 11"),
        "envoy_cluster_upstream_rq_pending_overflow{envoy_cluster_name=\"outbound|80||a.b\"} 2",
        &format!("envoy_cluster_upstream_rq{{envoy_response_code=\"503\",envoy_cluster_name=\"{NAME}\"}} 1"),
        &format!("envoy_cluster_upstream_rq_xx{{envoy_response_code_class=\"5\",envoy_cluster_name=\"{NAME}\"}} 1"),
        &format!("envoy_cluster_external_upstream_rq_completed{{envoy_cluster_name=\"{NAME}\"}} 2"),
        "# TYPE envoy_cluster_circuit_breakers_default_cx_open gauge",
        "envoy_http_downstream_rq_xx{envoy_response_code_class=\"4\",\
         envoy_http_conn_manager_prefix=\"outbound_0.0.0.0_8080\"} 1",
        "envoy_http_cors_origin_valid{envoy_http_conn_manager_prefix=\"outbound_0.0.0.0_8080\"} 1",
        "envoy_tcp_downstream_cx_rx_bytes_total{envoy_tcp_prefix=\"outbound|5432||db.a\"} 7",
        "envoy_listener_downstream_cx_total{envoy_listener_address=\"0.0.0.0_8080\"} 3",
        "envoy_listener_worker_downstream_cx_total{envoy_worker_id=\"1\",envoy_listener_address=\"0.0.0.0_8080\"} 3",
        "envoy_vhost_route_upstream_rq{envoy_response_code=\"200\",envoy_route=\"my.prefix\",\
         envoy_virtual_host=\"httpbin.example.com\"} 1",
        "envoy_server_live{} 1",
        "envoy_server_total_connections{} 0",
        "envoy_access_log_dropped_lines{} 0",
    ] {
        assert!(text.lines().any(|each| each == line), "{line}\n{text}");
    }
}

/// What a scraper requires: each metric's lines stand together below one TYPE line.
#[test]
fn prometheus_groups_metrics() {
    let text = shown(&some(), &|_| true, write_prometheus);
    let (mut types, mut current) = (std::collections::BTreeSet::new(), "");
    for line in text.lines() {
        if let Some(metric) = line.strip_prefix("# TYPE ") {
            current = metric.split(' ').next().unwrap();
            assert!(types.insert(current), "{current} twice");
        } else {
            let metric = line.split('{').next().unwrap();
            let suffix = metric.strip_prefix(current).unwrap_or_else(|| panic!("{line} below {current}"));
            assert!(["", "_bucket", "_sum", "_count"].contains(&suffix), "{line} below {current}");
        }
    }
    assert!(types.len() > 50);
}

#[test]
fn prometheus_histograms() {
    let registry = Registry::new(1);
    for sample in [0, 5, 7, 100, 450, 5_000_000] {
        registry.cluster(0, "c").upstream_rq_time.record(sample);
    }
    let text = shown(&registry, &|name| name == "cluster.c.upstream_rq_time", write_prometheus);
    let metric = "envoy_cluster_upstream_rq_time";
    assert!(text.starts_with(&format!("# TYPE {metric} histogram\n")));
    for (bound, count) in
        [("0.5", 1), ("1", 1), ("5", 2), ("10", 3), ("250", 4), ("500", 5), ("3600000", 5), ("+Inf", 6)]
    {
        let line = format!("{metric}_bucket{{envoy_cluster_name=\"c\",le=\"{bound}\"}} {count}\n");
        assert!(text.contains(&line), "{line}{text}");
    }
    assert!(text.ends_with(&format!("{metric}_count{{envoy_cluster_name=\"c\"}} 6\n")));
    let sum: f64 =
        text.lines().find(|line| line.contains("_sum")).unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!((sum / 5_000_562.0 - 1.0).abs() < 0.05, "{sum}");
    assert_eq!(text.matches("_bucket").count(), 20);
}

#[test]
fn pairs_of_statuses_are_one_metric() {
    let registry = Registry::new(2);
    for (core, mirror) in [(0, 500), (1, 500), (1, 0)] {
        registry.cluster(core, "c").mirrored().compared(Verdict::Mismatch, 200, mirror);
    }
    let text = shown(&registry, &|name| name.contains("mirror_status"), write_prometheus);
    assert_eq!(
        text,
        "# TYPE envoy_cluster_mirror_status counter\n\
         envoy_cluster_mirror_status{statuses=\"200_500\",envoy_cluster_name=\"c\"} 2\n\
         envoy_cluster_mirror_status{statuses=\"200_none\",envoy_cluster_name=\"c\"} 1\n"
    );
}

#[test]
fn odd_names_cannot_break_out_of_a_label() {
    let registry = Registry::new(1);
    registry.cluster(0, "a\"} 1\\\n").upstream_cx_total.inc();
    let text = shown(&registry, &|name| name.ends_with("upstream_cx_total"), write_prometheus);
    assert_eq!(
        text,
        "# TYPE envoy_cluster_upstream_cx_total counter\n\
         envoy_cluster_upstream_cx_total{envoy_cluster_name=\"a\\\"} 1\\\\\\n\"} 1\n"
    );
}

#[test]
fn json_is_envoys() {
    let registry = Registry::new(1);
    let stats = registry.cluster(0, NAME);
    stats.upstream_cx_total.inc();
    stats.upstream_rq_time.record(6);
    let keep = |name: &str| name.ends_with("local.upstream_cx_total") || name.ends_with("local.upstream_rq_time");
    let text = shown(&registry, &keep, write_json);
    let value = r#"{"cumulative":6.05,"interval":null}"#;
    let values = [value; 10].join(",");
    assert_eq!(
        text,
        format!(
            "{{\"stats\":[{{\"name\":\"cluster.{NAME}.upstream_cx_total\",\"value\":1}},\
             {{\"histograms\":{{\"supported_quantiles\":[0,25,50,75,90,95,99,99.5,99.9,100],\"computed_quantiles\":[\
             {{\"name\":\"cluster.{NAME}.upstream_rq_time\",\"values\":[{values}]}}]}}}}]}}\n"
        )
    );
    assert_eq!(shown(&registry, &|_| false, write_json), "{\"stats\":[]}\n");
}

#[test]
fn json_stays_json_whatever_the_name() {
    let registry = Registry::new(1);
    registry.cluster(0, "a\"\\\n\u{1}é").upstream_cx_total.inc();
    let text = shown(&registry, &|_| true, write_json);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let names: Vec<&str> = value["stats"].as_array().unwrap().iter().filter_map(|stat| stat["name"].as_str()).collect();
    assert!(names.contains(&"cluster.a\"\\\n\u{1}é.upstream_cx_total"));
}
