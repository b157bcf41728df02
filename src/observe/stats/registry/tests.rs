use super::super::write_text;
use super::*;

const NAME: &str = "outbound|8000|v1|httpbin.default.svc.cluster.local";

fn text(registry: &Registry, keep: &dyn Fn(&str) -> bool) -> String {
    let mut out = String::new();
    write_text(&registry.snapshot(keep), &mut out);
    out
}

#[test]
fn answers_to_copies_are_among_the_clusters_own() {
    let registry = Registry::new(2);
    registry.cluster(0, "c").response(200);
    registry.cluster(0, "c").upstream_rq_time.record(1);
    for core in 0..2 {
        registry.cluster(core, "c").mirrored().response(200);
        registry.cluster(core, "c").mirrored().took(1);
    }
    let stats = registry.snapshot(&|name| name.ends_with("upstream_rq_200") || name.ends_with("upstream_rq_time"));
    let seen = |name: &str| {
        let named = stats.iter().find(|stat| stat.name.strip_prefix("cluster.c.") == Some(name));
        match named.map(|stat| &stat.value) {
            Some(StatValue::Counter(value)) => Some(*value),
            Some(StatValue::Histogram { all, .. }) => Some(all.count()),
            _ => None,
        }
    };
    for (name, count) in [("", 3), ("internal.", 2), ("external.", 1)] {
        assert_eq!(seen(&format!("{name}upstream_rq_200")), Some(count), "{name}");
        assert_eq!(seen(&format!("{name}upstream_rq_time")), Some(count), "{name}");
    }
}

#[test]
fn blocks_of_all_cores_sum_up_under_envoys_names() {
    let registry = Registry::new(2);
    for core in 0..2 {
        let stats = registry.cluster(core, NAME);
        stats.upstream_rq_pending_overflow.add(5 + core as u64);
        stats.upstream_rq_pending_total.inc();
    }
    assert_eq!(
        text(&registry, &|name| name.contains("pending")),
        format!(
            "cluster.{NAME}.circuit_breakers.default.rq_pending_open: 0\n\
             cluster.{NAME}.circuit_breakers.high.rq_pending_open: 0\n\
             cluster.{NAME}.upstream_rq_pending_active: 0\n\
             cluster.{NAME}.upstream_rq_pending_failure_eject: 0\n\
             cluster.{NAME}.upstream_rq_pending_overflow: 11\n\
             cluster.{NAME}.upstream_rq_pending_total: 2\n"
        )
    );
}

#[test]
fn response_codes_merge_though_each_core_saw_others() {
    let registry = Registry::new(3);
    for (core, codes) in [(0, &[200, 503][..]), (1, &[404, 200]), (2, &[])] {
        codes.iter().for_each(|&code| registry.cluster(core, "c").response(code));
    }
    assert_eq!(
        text(&registry, &|name| name.starts_with("cluster.c.upstream_rq_") && name.ends_with(char::is_numeric)),
        "cluster.c.upstream_rq_200: 2\ncluster.c.upstream_rq_404: 1\ncluster.c.upstream_rq_503: 1\n"
    );
    assert!(text(&registry, &|name| name == "cluster.c.external.upstream_rq_completed").ends_with(": 4\n"));
}

#[test]
fn the_same_name_is_the_same_block() {
    let registry = Registry::new(1);
    registry.cluster(0, "c").upstream_cx_total.inc();
    registry.cluster(0, "c").upstream_cx_total.inc();
    assert_eq!(registry.cluster(0, "c").upstream_cx_total.get(), 2);
}

#[test]
fn names_come_sorted() {
    let registry = Registry::new(2);
    for name in ["b", "a", "a.b"] {
        registry.cluster(1, name).response(200);
        registry.http(0, name).response(200);
        registry.listener(1, name).downstream_cx_total.inc();
    }
    let is_histogram = |stat: &Stat| matches!(stat.value, StatValue::Histogram { .. });
    let stats = registry.snapshot(&|_| true);
    let histograms = stats.iter().position(is_histogram).unwrap();
    assert!(stats[histograms..].iter().all(is_histogram));
    for part in [&stats[..histograms], &stats[histograms..]] {
        assert!(part.windows(2).all(|pair| pair[0].name < pair[1].name));
    }
    let names: Vec<String> = stats.into_iter().map(|stat| stat.name).collect();
    for expected in ["server.uptime", "server.total_connections", "access_log.dropped_lines", "http.a.no_route"] {
        assert!(names.iter().any(|name| name == expected), "{expected}");
    }
}

#[test]
fn a_listener_shows_each_worker() {
    let registry = Registry::new(2);
    registry.listener(0, "0.0.0.0_8080").downstream_cx_total.add(3);
    let second = registry.listener(1, "0.0.0.0_8080");
    second.downstream_cx_total.add(4);
    second.downstream_cx_active.inc();
    assert_eq!(
        text(&registry, &|name| name.ends_with("cx_total")),
        "listener.0.0.0.0_8080.downstream_cx_total: 7\n\
         listener.0.0.0.0_8080.worker_0.downstream_cx_total: 3\n\
         listener.0.0.0.0_8080.worker_1.downstream_cx_total: 4\n"
    );
    assert_eq!(text(&registry, &|name| name == "server.total_connections"), "server.total_connections: 1\n");
}

#[test]
fn a_route_counts_by_host_and_stat_prefix() {
    let registry = Registry::new(2);
    for core in 0..2 {
        let stats = registry.route(core, "httpbin.example.com", "special");
        stats.upstream_rq_total.inc();
        stats.response(200);
    }
    let (prefix, used) = ("vhost.httpbin.example.com.route.special", |line: &&str| !line.ends_with(": 0"));
    let all = text(&registry, &|name| name.starts_with("vhost.") && !name.ends_with("_time"));
    assert_eq!(
        all.lines().filter(used).collect::<Vec<_>>(),
        ["200", "2xx", "completed", "total"].map(|field| format!("{prefix}.upstream_rq_{field}: 2"))
    );
}

#[test]
fn a_gauge_that_moved_between_cores_is_right_and_counts_as_used() {
    let registry = Registry::new(2);
    registry.cluster(0, "c").upstream_cx_active.add(2);
    registry.cluster(1, "c").upstream_cx_active.sub(2);
    let stats = registry.snapshot(&|name| name.ends_with("cx_active"));
    assert_eq!(stats[0].value, StatValue::Gauge { value: 0, used: true });
    let idle = registry.snapshot(&|name| name.ends_with("rq_active"));
    assert!(!idle[0].value.used());
}

#[test]
fn histograms_merge_and_roll() {
    let registry = Registry::new(2);
    let of_time = |name: &str| name == "cluster.c.upstream_rq_time";
    let _ = registry.cluster(0, "c");
    assert_eq!(text(&registry, &of_time), "cluster.c.upstream_rq_time: No recorded values\n");
    registry.cluster(0, "c").upstream_rq_time.record(10);
    registry.cluster(1, "c").upstream_rq_time.record(20);
    assert!(text(&registry, &of_time).contains("P0(nan,10.5) "), "no interval has ended");
    registry.roll();
    assert!(text(&registry, &of_time).contains("P0(10.5,10.5) "));
    registry.cluster(1, "c").upstream_rq_time.record(30);
    registry.roll();
    assert!(text(&registry, &of_time).contains("P0(30.5,10.5) "));
    registry.roll();
    assert!(text(&registry, &of_time).contains("P0(nan,10.5) "));
}

#[test]
fn endpoints_sum_by_address() {
    let registry = Registry::new(2);
    let address = EndpointAddress::from(([10, 0, 0, 1], 80));
    for core in 0..2 {
        let stats = registry.endpoint(core, "c", &address);
        stats.rq_total.add(2);
        stats.rq_active.inc();
    }
    let expected = EndpointTotals { rq_total: 4, rq_active: 2, ..EndpointTotals::default() };
    assert_eq!(registry.endpoint_totals("c", &address), expected);
    assert_eq!(registry.endpoint_totals("c", &([10, 0, 0, 2], 80).into()), EndpointTotals::default());
    assert_eq!(registry.endpoint_totals("d", &address), EndpointTotals::default());
}

#[test]
fn readers_see_a_writers_counts() {
    let registry = Registry::new(1);
    let stats = registry.cluster(0, "c");
    std::thread::scope(|scope| {
        scope.spawn(|| (0..10_000).for_each(|_| stats.upstream_rq_total.inc()));
        let mut last = 0;
        for _ in 0..100 {
            let StatValue::Counter(now) = registry.snapshot(&|name| name.ends_with("c.upstream_rq_total"))[0].value
            else {
                panic!("a counter");
            };
            assert!(now >= last);
            last = now;
        }
    });
    assert_eq!(stats.upstream_rq_total.get(), 10_000);
}

#[test]
fn what_a_plan_no_longer_names_is_forgotten_and_the_rest_counts_on() {
    let registry = Registry::new(1);
    let (stays, goes): (EndpointAddress, EndpointAddress) = (([10, 0, 0, 1], 80).into(), ([10, 0, 0, 2], 80).into());
    for name in ["kept", "gone"] {
        registry.cluster(0, name).upstream_rq_total.inc();
        registry.http(0, name).downstream_rq_total.inc();
        registry.tcp(0, name).downstream_cx_total.inc();
        registry.listener(0, name).downstream_cx_total.inc();
        registry.route(0, name, "prefix").upstream_rq_total.inc();
    }
    for address in [&stays, &goes] {
        registry.endpoint(0, "kept", address).rq_total.inc();
    }
    registry.retain(&Kept {
        clusters: [("kept", [stays.clone()].into())].into(),
        listeners: ["kept"].into(),
        http: ["kept"].into(),
        tcp: ["kept"].into(),
        routes: [("kept", "prefix")].into(),
    });
    let text = text(&registry, &|_| true);
    for line in [
        "cluster.kept.upstream_rq_total: 1",
        "http.kept.downstream_rq_total: 1",
        "tcp.kept.downstream_cx_total: 1",
        "vhost.kept.route.prefix.upstream_rq_total: 1",
    ] {
        assert!(text.contains(line), "{text}");
    }
    assert!(text.contains("listener.kept.downstream_cx_total: 1") && !text.contains("gone"), "{text}");
    let totals = |address| registry.endpoint_totals("kept", address).rq_total;
    assert_eq!((totals(&stays), totals(&goes)), (1, 0));
    assert_eq!(registry.cluster(0, "gone").upstream_rq_total.get(), 0, "it begins anew");
}

#[test]
fn a_dead_worker_leaves_its_counts_but_nothing_active() {
    let registry = Registry::new(2);
    let address = &([10, 0, 0, 1], 80).into();
    for core in 0..2 {
        let (cluster, endpoint) = (registry.cluster(core, "c"), registry.endpoint(core, "c", address));
        let (http, listener) = (registry.http(core, "h"), registry.listener(core, "l"));
        [&cluster.upstream_rq_active, &endpoint.rq_active, &http.downstream_cx_active, &listener.downstream_cx_active]
            .iter()
            .for_each(|gauge| gauge.add(3));
        cluster.upstream_rq_total.add(5);
    }
    registry.clear_gauges(1);
    let text = text(&registry, &|name| name.contains("active") || name.ends_with("c.upstream_rq_total"));
    for line in [
        "cluster.c.upstream_rq_active: 3",
        "cluster.c.upstream_rq_total: 10",
        "http.h.downstream_cx_active: 3",
        "listener.l.downstream_cx_active: 3",
        "listener.l.worker_1.downstream_cx_active: 0",
    ] {
        assert!(text.contains(&format!("{line}\n")), "{line}: {text}");
    }
    assert_eq!(registry.endpoint_totals("c", address).rq_active, 3);
}
