//! What choosing an endpoint costs: by each policy, by hash, and the making of a hash's tables.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Instant;

use criterion::{Criterion, criterion_group, criterion_main};

use ringway::base::endpoint::EndpointAddress;
use ringway::base::rng::Rng;
use ringway::policy::balance::{Balancer, Group, LoadBalancing, Member, PickContext, Policy};
use ringway::policy::hashing::key::{self, Key, Outgoing};
use ringway::policy::hashing::{Algorithm, TableSize, xxh64};

const COUNT: usize = 16;

fn endpoints(weights: &[u32]) -> Vec<(EndpointAddress, u32)> {
    let address = |at: usize| EndpointAddress::from(([10, 0, 0, at as u8], 8000));
    weights.iter().enumerate().map(|(at, weight)| (address(at), *weight)).collect()
}

fn hashing() -> [(&'static str, Policy); 2] {
    [
        ("ring", Policy::ConsistentHash(Algorithm::default())),
        ("maglev", Policy::ConsistentHash(Algorithm::Maglev { size: TableSize::default() })),
    ]
}

fn picks(c: &mut Criterion) {
    let (even, uneven) = ([1; COUNT], std::array::from_fn(|at| 1 + at as u32));
    let mut cases = vec![
        ("least_request", Policy::LeastRequest, even),
        ("round_robin", Policy::RoundRobin, even),
        ("random", Policy::Random, even),
        ("weighted", Policy::RoundRobin, uneven),
    ];
    cases.extend(hashing().map(|(name, policy)| (name, policy, even)));
    for (name, policy, weights) in cases {
        let spread = LoadBalancing::even(policy, None, &endpoints(&weights));
        measure(c, name, &spread, &weights);
    }
    let half = COUNT as u32 / 2;
    let groups = vec![
        Group { weight: 80, members: (0..half).collect() },
        Group { weight: 20, members: (half..2 * half).collect() },
    ];
    let spread = LoadBalancing::new(Policy::LeastRequest, None, &endpoints(&even), vec![groups]);
    measure(c, "localities", &spread, &even);
}

#[allow(clippy::disallowed_methods, reason = "an Instant can be had from the clock only")]
fn measure(c: &mut Criterion, name: &str, spread: &LoadBalancing, weights: &[u32]) {
    let now = Instant::now();
    let members: Vec<Member> = weights.iter().map(|weight| Member { weight: *weight, since: now }).collect();
    let mut rng = Rng::seeded(1);
    let mut balancer = Balancer::new(spread, &members, now, &mut rng);
    let mut keys = Rng::seeded(2);
    c.bench_function(&format!("pick/{name}"), |b| {
        b.iter(|| {
            let ask = PickContext { hash: spread.hashes().then(|| keys.bits()), now };
            balancer.pick(black_box(ask), |at| black_box(at as u32) & 3, |at| black_box(at) != 5, &mut rng)
        });
    });
}

/// A request that says all that is asked for but one cookie.
struct Request;

impl Outgoing for Request {
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        const LINES: [(&str, &[u8]); 2] = [("x-user", b"anna"), ("cookie", b"a=b; session=0123456789abcdef; c=d")];
        LINES.iter().filter(move |(own, _)| *own == name).map(|(_, value)| *value)
    }

    fn query(&self) -> &[u8] {
        b"a=b&user=anna"
    }

    fn connection(&self) -> (SocketAddr, SocketAddr) {
        (SocketAddr::from(([10, 0, 0, 1], 4321)), SocketAddr::from(([10, 0, 0, 2], 80)))
    }
}

fn hashes(c: &mut Criterion) {
    let cookie = |name: &str| key::Cookie {
        name: name.into(),
        path: "".into(),
        ttl: Some(std::time::Duration::from_secs(60)),
        attributes: Box::default(),
    };
    for (name, key) in [
        ("header", Key::Header("x-user".into())),
        ("cookie", Key::Cookie(cookie("session"))),
        ("new_cookie", Key::Cookie(cookie("missing"))),
        ("source_ip", Key::SourceIp),
        ("query", Key::Query("user".into())),
    ] {
        c.bench_function(&format!("hash/{name}"), |b| {
            b.iter(|| key::hash(std::slice::from_ref(black_box(&key)), &Request).hash);
        });
    }
    c.bench_function("hash/16_bytes", |b| b.iter(|| xxh64(black_box(b"0123456789abcdef"))));
}

fn tables(c: &mut Criterion) {
    let endpoints = endpoints(&[1; COUNT]);
    for (name, policy) in hashing() {
        c.bench_function(&format!("make/{name}"), |b| {
            b.iter(|| LoadBalancing::even(policy, None, black_box(&endpoints)))
        });
    }
}

criterion_group!(benches, picks, hashes, tables);
criterion_main!(benches);
