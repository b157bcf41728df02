//! `loadBalancer`: how an endpoint is chosen.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::istio::model::scalar::line;
use crate::istio::reader::{Item, Message, Object, Without, deprecated, enforced, not_yet_harmless};

use super::locality::{self, LocalityLb};

/// `loadBalancer`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoadBalancer {
    /// `simple` or `consistentHash`.
    pub policy: LbPolicy,
    /// `localityLbSetting`; `None`: the mesh's.
    pub locality: Option<LocalityLb>,
    /// `warmup`, or the old `warmupDurationSecs`: of ROUND_ROBIN and LEAST_REQUEST only.
    pub warmup: Option<Warmup>,
}

/// `simple` or `consistentHash`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LbPolicy {
    /// `LEAST_REQUEST`, also `UNSPECIFIED` and the old `LEAST_CONN`.
    #[default]
    LeastRequest,
    /// `ROUND_ROBIN`.
    RoundRobin,
    /// `RANDOM`.
    Random,
    /// `consistentHash`.
    ConsistentHash(ConsistentHash),
}

/// `consistentHash`: equal keys go to the same endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsistentHash {
    /// The part of a request that is hashed.
    pub key: HashKey,
    /// The table that the hash is looked up in.
    pub table: HashTable,
}

/// The part of a request that is hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// `httpHeaderName`.
    Header(String),
    /// `httpCookie`.
    Cookie(HashCookie),
    /// `useSourceIp`.
    SourceIp,
    /// `httpQueryParameterName`.
    QueryParameter(String),
    /// No key, or `useSourceIp: false`: requests are not hashed, and endpoints are picked at random.
    Nothing,
}

/// `httpCookie`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashCookie {
    /// `name`.
    pub name: String,
    /// `path` of a generated cookie; empty when absent.
    pub path: String,
    /// `ttl` of a generated cookie; zero: for the session; `None`: none is ever generated.
    pub ttl: Option<Duration>,
    /// `attributes` of a generated cookie, in order: name and value.
    pub attributes: Vec<(String, String)>,
}

/// The table of a consistent hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashTable {
    /// `ringHash`, the default.
    Ring {
        /// `minimumRingSize`; 1024 when absent.
        minimum_size: u64,
    },
    /// `maglev`.
    Maglev {
        /// `tableSize`: a prime below 5000011.
        table_size: u64,
    },
}

/// `warmup`: an endpoint that is new gets less at first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Warmup {
    /// `duration`.
    pub duration: Duration,
    /// `minimumPercent` of its share that a new endpoint begins with: 0 to 100; 10 when absent.
    pub minimum_percent: f64,
    /// `aggression`: above 0; 1, a straight line, when absent.
    pub aggression: f64,
}

const LOAD_BALANCER: Message = Message {
    name: "LoadBalancerSettings",
    fields: &[
        enforced("simple"),
        enforced("consistentHash"),
        enforced("localityLbSetting"),
        not_yet_harmless("zoneAwareLbSetting"),
        not_yet_harmless("backendUtilization"),
        enforced("warmup"),
        deprecated("warmupDurationSecs", "write \"warmup: {duration: TIME}\""),
    ],
};

const CONSISTENT_HASH: Message = Message {
    name: "ConsistentHashLB",
    fields: &[
        enforced("httpHeaderName"),
        enforced("httpCookie"),
        enforced("useSourceIp"),
        enforced("httpQueryParameterName"),
        enforced("ringHash"),
        enforced("maglev"),
        deprecated("minimumRingSize", "write \"ringHash: {minimumRingSize: N}\""),
    ],
};

const HTTP_COOKIE: Message = Message {
    name: "HTTPCookie",
    fields: &[enforced("name"), enforced("path"), enforced("ttl"), enforced("attributes")],
};

const COOKIE_ATTRIBUTE: Message = Message { name: "Attribute", fields: &[enforced("name"), enforced("value")] };

const RING_HASH: Message = Message { name: "RingHash", fields: &[enforced("minimumRingSize")] };

const MAGLEV: Message = Message { name: "MagLev", fields: &[enforced("tableSize")] };

const WARMUP: Message = Message {
    name: "WarmupConfiguration",
    fields: &[enforced("duration"), enforced("minimumPercent"), enforced("aggression")],
};

/// The tables of this file.
pub(super) const MESSAGES: &[&Message] =
    &[&LOAD_BALANCER, &CONSISTENT_HASH, &HTTP_COOKIE, &COOKIE_ATTRIBUTE, &RING_HASH, &MAGLEV, &WARMUP];

/// Istio's default of `minimumRingSize`.
const RING_SIZE: u64 = 1024;

/// Envoy's largest ring.
const MAX_RING_SIZE: u32 = 8 * 1024 * 1024;

/// Envoy's largest Maglev table.
const MAX_MAGLEV_SIZE: u32 = 5_000_011 - 1;

/// Reads `loadBalancer`.
pub(super) fn read(item: &Item<'_>, has_outlier_detection: bool) -> Option<LoadBalancer> {
    let before = item.left_out();
    let object = item.object(&LOAD_BALANCER)?;
    let policy = match (object.get("simple"), object.get("consistentHash")) {
        (Some(_), Some(hash)) => {
            hash.error("stands beside \"simple\"", "keep one of them");
            let _ = consistent_hash(&hash);
            None
        }
        (Some(item), None) => simple(&item),
        (None, Some(item)) => consistent_hash(&item).map(LbPolicy::ConsistentHash),
        (None, None) => Some(LbPolicy::default()),
    };
    if let (Some(_), Some(zone)) = (object.get("localityLbSetting"), object.get("zoneAwareLbSetting")) {
        zone.error("stands beside \"localityLbSetting\"", "keep one of them");
    }
    let locality = object.get("localityLbSetting").and_then(|item| locality::read(&item, has_outlier_detection));
    let warmup = warmup(&object);
    // A policy that is left out is not replaced by the default.
    let policy = if item.left_out() == before { policy.unwrap_or_default() } else { policy? };
    Some(LoadBalancer { policy, locality, warmup })
}

fn simple(item: &Item<'_>) -> Option<LbPolicy> {
    match item.one_of(&["UNSPECIFIED", "LEAST_REQUEST", "ROUND_ROBIN", "RANDOM", "PASSTHROUGH", "LEAST_CONN"])? {
        "ROUND_ROBIN" => Some(LbPolicy::RoundRobin),
        "RANDOM" => Some(LbPolicy::Random),
        "PASSTHROUGH" => {
            // PASSTHROUGH goes to the client's original address, inside the service or not: the default stays
            // within the service.
            item.not_enforced("load balancing PASSTHROUGH", Without::NoMore);
            None
        }
        "LEAST_CONN" => {
            item.warn("\"LEAST_CONN\" is deprecated", "write \"LEAST_REQUEST\", which it means");
            Some(LbPolicy::LeastRequest)
        }
        _ => Some(LbPolicy::LeastRequest),
    }
}

fn consistent_hash(item: &Item<'_>) -> Option<ConsistentHash> {
    let object = item.object(&CONSISTENT_HASH)?;
    let key = hash_key(&object);
    let table = hash_table(&object);
    let table = table.unwrap_or(HashTable::Ring { minimum_size: RING_SIZE });
    Some(ConsistentHash { key: key.unwrap_or(HashKey::Nothing), table })
}

fn hash_key(object: &Object<'_>) -> Option<HashKey> {
    let written: Vec<_> = ["httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName"]
        .into_iter()
        .filter_map(|name| Some((name, object.get(name)?)))
        .collect();
    match written.as_slice() {
        [] if object.item.is_damaged() => None,
        [] => {
            object.item.warn("hashes nothing of a request, so endpoints are drawn", "write what to hash");
            Some(HashKey::Nothing)
        }
        [("httpHeaderName", item)] => Some(HashKey::Header(line::nonempty(item)?.to_owned())),
        [("httpCookie", item)] => cookie(item).map(HashKey::Cookie),
        [("useSourceIp", item)] => Some(if item.bool()? { HashKey::SourceIp } else { HashKey::Nothing }),
        [(_, item)] => Some(HashKey::QueryParameter(line::nonempty(item)?.to_owned())),
        [(first, _), (second, item), ..] => {
            item.error(format!("has both \"{first}\" and \"{second}\""), "keep one of them");
            None
        }
    }
}

fn cookie(item: &Item<'_>) -> Option<HashCookie> {
    let object = item.object(&HTTP_COOKIE)?;
    let name = object.required("name").and_then(|item| line::nonempty(&item));
    let ttl = object.get("ttl").and_then(|item| item.duration_or_zero());
    let mut names = BTreeSet::new();
    let mut attributes = Vec::new();
    for item in object.list("attributes") {
        let Some(attribute) = item.object(&COOKIE_ATTRIBUTE) else { continue };
        let Some(name) = attribute.required("name").and_then(|item| line::nonempty(&item)) else { continue };
        if !names.insert(name) {
            item.error(format!("a second attribute named \"{name}\""), "remove one of them");
        }
        attributes.push((name.to_owned(), line::field(&attribute, "value")));
    }
    Some(HashCookie { name: name?.to_owned(), path: line::field(&object, "path"), ttl, attributes })
}

fn hash_table(object: &Object<'_>) -> Option<HashTable> {
    let minimum = |item: &Item<'_>| item.whole(0, MAX_RING_SIZE).map(u64::from);
    let old = object.get("minimumRingSize").and_then(|item| minimum(&item)).filter(|size| *size > 0);
    let (ring, maglev) = (object.get("ringHash"), object.get("maglev"));
    let ring_hash = |item: &Item<'_>| {
        let minimum_size = match item.object(&RING_HASH)?.get("minimumRingSize") {
            Some(item) => minimum(&item)?,
            None => RING_SIZE,
        };
        Some(HashTable::Ring { minimum_size })
    };
    let tables = (ring.as_ref().map(ring_hash), maglev.as_ref().map(maglev_table));
    match (ring, maglev) {
        (Some(_), Some(maglev)) => {
            maglev.error("stands beside \"ringHash\"", "keep one of them");
            return None;
        }
        (Some(item), None) | (None, Some(item)) if old.is_some() => {
            item.error("stands beside the old \"minimumRingSize\"", "remove that one");
            return None;
        }
        _ => {}
    }
    match tables {
        (Some(table), _) | (None, Some(table)) => table,
        (None, None) => Some(HashTable::Ring { minimum_size: old.unwrap_or(RING_SIZE) }),
    }
}

fn maglev_table(item: &Item<'_>) -> Option<HashTable> {
    let size = item.object(&MAGLEV)?.required("tableSize")?;
    let table_size = u64::from(size.whole(1, MAX_MAGLEV_SIZE)?);
    if !is_prime(table_size) {
        size.error(format!("{table_size} is not a prime number"), "Envoy's default is 65537");
        return None;
    }
    Some(HashTable::Maglev { table_size })
}

/// Envoy's notion, to which 1 belongs (`Primes::isPrime`).
fn is_prime(number: u64) -> bool {
    let odd_factors = (3..).step_by(2).take_while(|factor| factor * factor <= number);
    number < 4 || !number.is_multiple_of(2) && !odd_factors.into_iter().any(|factor| number.is_multiple_of(factor))
}

fn warmup(object: &Object<'_>) -> Option<Warmup> {
    let (minimum_percent, aggression) = (10.0, 1.0);
    let Some(item) = object.get("warmup") else {
        let duration = object.get("warmupDurationSecs")?.duration()?;
        return Some(Warmup { duration, minimum_percent, aggression });
    };
    let object = item.object(&WARMUP)?;
    let minimum_percent = object.get("minimumPercent").map_or(Some(minimum_percent), |item| item.decimal(0.0, 100.0));
    let positive = |item: Item<'_>| item.decimal(f64::MIN_POSITIVE, f64::MAX);
    let aggression = object.get("aggression").map_or(Some(aggression), positive);
    let duration = object.required("duration").and_then(|item| item.duration());
    // Unreadable fields were reported: the rest is kept for the checks.
    Some(Warmup {
        duration: duration.unwrap_or_default(),
        minimum_percent: minimum_percent.unwrap_or_default(),
        aggression: aggression.unwrap_or_default(),
    })
}
