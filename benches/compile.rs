//! What making a plan costs: 10,000 VirtualServices with 20,000 rules over 10,000 Services with 50,000 endpoints, for a
//! gateway alone, and for the mesh beside it; and what reading these from 12 MB of YAML costs, which comes before it.

use std::fmt::Write;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ringway::istio::world::World;
use ringway::istio::{self, Options};
use ringway::plan::{self, Overrides, Plan, ProxySettings};

const SERVICES: usize = 10_000;
const ENDPOINTS: usize = 5;

/// Documents of Istio's kinds, as many of each as the issue asks for.
fn documents(mesh: bool) -> String {
    let mut yaml = String::from(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g}\n\
         spec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}\n",
    );
    let mut document = |text: std::fmt::Arguments<'_>| {
        let _ = write!(yaml, "---\n{text}\n");
    };
    document(format_args!(
        "apiVersion: ringway.dev/v1\nkind: Proxy\nmetadata: {{name: p}}\nspec: {}",
        if mesh { "{mesh: {listen: '127.0.0.1:15001'}}" } else { "{}" }
    ));
    for number in 0..SERVICES {
        document(format_args!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: s{number}}}\n\
             spec: {{ports: [{{name: http, port: {}}}], selector: {{app: s{number}}}}}",
            8000 + number % 20
        ));
        for endpoint in 0..ENDPOINTS {
            document(format_args!(
                "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: s{number}-{endpoint}}}\n\
                 spec: {{address: 10.{}.{}.{endpoint}, labels: {{app: s{number}, version: v{}}}}}",
                number / 250,
                number % 250,
                endpoint % 2
            ));
        }
        document(format_args!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: s{number}}}\n\
             spec: {{host: s{number}, subsets: [{{name: v0, labels: {{version: v0}}}}]}}"
        ));
        document(format_args!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: s{number}}}\nspec:\n  hosts: \
             [tenant-{number}.example.com, s{number}]\n  gateways: [g, mesh]\n  http:\n  - match: [{{uri: {{prefix: \
             /api/v{}}}, headers: {{x-team: {{exact: blue}}}}}}]\n    route: [{{destination: {{host: s{number}, subset: \
             v0}}}}]\n  - route: [{{destination: {{host: s{number}}}}}]",
            number % 7
        ));
    }
    yaml
}

fn world(yaml: &str) -> World {
    let (world, problems) = istio::read_text(yaml, Options { permissive: false });
    let problem = problems.iter().find(|problem| problem.is_error());
    assert!(problem.is_none(), "{problem:?}");
    world
}

/// Memory of this process, in MB.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    (pages.unwrap_or_default() * 4096) >> 20
}

fn compiled(world: &World) -> Plan {
    let (plan, problems) = plan::compile(world, ProxySettings::resolve(&world.proxy, &Overrides::default()));
    assert!(problems.is_empty(), "{:?}", problems.first());
    plan
}

fn compile(c: &mut Criterion) {
    let mut group = c.benchmark_group("compile");
    group.sample_size(10).measurement_time(Duration::from_secs(8));
    for (name, mesh) in [("gateway", false), ("gateway_and_mesh", true)] {
        let world = world(&documents(mesh));
        let before = resident();
        let plan = compiled(&world);
        assert_eq!(plan.listeners[0].route_tables().next().expect("a table").virtual_hosts.len(), 2 * SERVICES);
        println!("the plan takes {} MB beside the {before} MB of the documents", resident() - before);
        drop(plan);
        // What a plan takes to be dropped is not what it takes to be made.
        group.bench_function(name, |b| {
            b.iter_batched(|| (), |()| black_box(compiled(&world)), BatchSize::PerIteration);
        });
    }
}

fn read(c: &mut Criterion) {
    let yaml = documents(false);
    let mut group = c.benchmark_group("read");
    group.sample_size(10).measurement_time(Duration::from_secs(8)).throughput(Throughput::Bytes(yaml.len() as u64));
    group.bench_function("documents", |b| {
        b.iter_batched(|| (), |()| black_box(world(&yaml)), BatchSize::PerIteration);
    });
}

criterion_group!(benches, compile, read);
criterion_main!(benches);
