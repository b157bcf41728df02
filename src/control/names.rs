//! The host names that control resolves: those of the current clusters, when each must be resolved again, and the workers'
//! requests that wait for an answer.
//!
//! It decides and remembers; `dns` sends the queries, `dns_endpoints` and `resolve` use the answers. An answer is used for its
//! TTL, or longer while no server answers. A name without an address is resolved again after a second, then two, four, and so
//! on up to `dnsRefreshRate`.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::Event;
use super::dns::{Asker, DnsAnswer};
use crate::plan::{Cluster, Dns, HostAddress, MOST_ADDRESSES, NameKind, Plan, ProxySettings};

/// The first wait after a failure.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// How long a plan waits for the first answers about its host names.
pub(super) const NAMES_PATIENCE: Duration = Duration::from_secs(5);

/// A worker asks where an authority is.
#[derive(Debug)]
pub(super) struct AddressRequest {
    pub(super) worker: usize,
    /// `host` or `host:port`.
    pub(super) authority: Box<str>,
    /// Where this process listens, and must not send requests to.
    pub(super) ours: Vec<SocketAddr>,
}

/// All that is known of names.
pub(super) struct Names {
    asker: Asker,
    settings: Dns,
    refresh_rate: Duration,
    /// The names of clusters.
    known: HashMap<Box<str>, KnownName>,
    /// The names that are being resolved.
    asked: HashSet<Box<str>>,
    /// The questions of workers, by host name.
    questions: HashMap<Box<str>, Vec<AddressRequest>>,
}

/// A name of a cluster.
#[derive(Debug, Default)]
struct KnownName {
    /// The clusters that it is in, as positions in the plan.
    clusters: Vec<usize>,
    addresses: Vec<HostAddress>,
    /// The name does not exist any more: the addresses are its last ones.
    gone: bool,
    /// Whether there ever was an answer of any kind.
    answered: bool,
    /// When to resolve it again; `None`: a query is under way, or its addresses are configured.
    due: Option<Instant>,
    /// Questions in a row without an address for an answer.
    failures: u32,
}

/// The changes by an answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Learnt {
    /// The clusters that it is about.
    pub(super) clusters: Vec<usize>,
    /// How it counts.
    pub(super) outcome: LookupOutcome,
}

/// How an answer counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum LookupOutcome {
    /// There are addresses.
    #[default]
    Found,
    /// The name does not exist.
    Empty,
    /// No server answered.
    Failed,
}

impl Names {
    /// Starts without names.
    ///
    /// # Errors
    /// When the process is out of threads or descriptors.
    pub(super) fn start(settings: &ProxySettings, events: Sender<Event>) -> std::io::Result<Self> {
        Ok(Self::asking(Asker::start(settings.dns.clone(), events)?, settings))
    }

    fn asking(asker: Asker, settings: &ProxySettings) -> Self {
        Self {
            asker,
            settings: settings.dns.clone(),
            refresh_rate: settings.dns_refresh_rate,
            known: HashMap::new(),
            asked: HashSet::new(),
            questions: HashMap::new(),
        }
    }

    /// Adds the names of a plan that may be in force soon, and gives its clusters the members that are known already. The
    /// other names are queried.
    pub(super) fn fill(&mut self, plan: &mut Plan, now: Instant) {
        self.configure(&plan.proxy, now);
        let names = plan.clusters.iter().filter_map(|cluster| cluster.discovery.names());
        for name in names.flat_map(|names| names.names()) {
            if !self.known.contains_key(name) {
                self.known.insert(name.into(), KnownName::new(self.settings.hosts.get(name), now));
            }
        }
        for cluster in &mut plan.clusters {
            if let Some(members) = self.members(cluster) {
                *cluster = std::sync::Arc::new(members);
            }
        }
    }

    /// The plan is in force: answers are for its clusters, and names that it does not have are forgotten.
    pub(super) fn installed(&mut self, plan: &Plan) {
        self.known.values_mut().for_each(|known| known.clusters.clear());
        for (at, cluster) in plan.clusters.iter().enumerate() {
            for name in cluster.discovery.names().iter().flat_map(|names| names.names()) {
                if let Some(known) = self.known.get_mut(name)
                    && known.clusters.last() != Some(&at)
                {
                    known.clusters.push(at);
                }
            }
        }
        self.known.retain(|_, known| !known.clusters.is_empty());
    }

    /// A plan that was [filled](Self::fill) is not put in force: this one stays.
    pub(super) fn go_back_to(&mut self, plan: &Plan, now: Instant) {
        self.configure(&plan.proxy, now);
        self.installed(plan);
    }

    /// Other servers or hosts than before make every answer a thing of the past.
    fn configure(&mut self, settings: &ProxySettings, now: Instant) {
        self.refresh_rate = settings.dns_refresh_rate;
        if settings.dns == self.settings {
            return;
        }
        self.settings = settings.dns.clone();
        self.asker.configure(settings.dns.clone());
        self.asked.clear();
        for (name, known) in &mut self.known {
            match self.settings.hosts.get(&**name) {
                Some(written) => (known.addresses, known.gone, known.due) = (written.clone(), false, None),
                None => known.due = Some(now),
            }
        }
    }

    /// `cluster` with the current members of its names; `None` if it has no names.
    pub(super) fn members(&self, cluster: &Cluster) -> Option<Cluster> {
        let names = cluster.discovery.names()?;
        let answers = |name: &str| match self.known.get(name) {
            // The single endpoint of a name stays where it was.
            Some(known) if !(known.gone && names.kind == NameKind::Every) => &*known.addresses,
            _ => &[],
        };
        Some(names.resolved(cluster, answers))
    }

    /// Whether every name has had an answer or a failure, so that there is no point in waiting longer.
    pub(super) fn all_answered(&self) -> bool {
        self.known.values().all(|known| known.answered)
    }

    /// When the next query is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.known.values().filter_map(|known| known.due).min()
    }

    /// Queries all names that are due; returns their clusters.
    pub(super) fn ask_due(&mut self, now: Instant) -> Vec<usize> {
        let mut asked_for = Vec::new();
        let mut names: Vec<Box<str>> = Vec::new();
        for (name, known) in self.known.iter_mut().filter(|(_, known)| known.due.is_some_and(|due| due <= now)) {
            known.due = None;
            asked_for.extend(&known.clusters);
            names.push(name.clone());
        }
        names.into_iter().for_each(|name| self.ask(name));
        asked_for
    }

    fn ask(&mut self, name: Box<str>) {
        if !self.asked.contains(&name) {
            self.asker.ask(&name);
            self.asked.insert(name);
        }
    }

    /// Takes a question of a worker about a host; gives it back with the addresses if they are known without asking.
    pub(super) fn question(
        &mut self,
        host: &str,
        question: AddressRequest,
    ) -> Option<(AddressRequest, Vec<HostAddress>)> {
        if let Some(written) = self.settings.hosts.get(host) {
            return Some((question, written.clone()));
        }
        self.questions.entry(host.into()).or_default().push(question);
        self.ask(host.into());
        None
    }

    /// The questions of workers that this answer is for.
    pub(super) fn questions(&mut self, name: &str) -> Vec<AddressRequest> {
        self.questions.remove(name).unwrap_or_default()
    }

    /// Takes an answer; `None`: no cluster needs it.
    pub(super) fn answered(&mut self, name: &str, answer: &DnsAnswer, now: Instant) -> Option<Learnt> {
        self.asked.remove(name);
        let known = self.known.get_mut(name)?;
        let first = !std::mem::replace(&mut known.answered, true);
        let outcome = known.learn(name, answer, first);
        let wait = match answer {
            DnsAnswer::At { valid, .. } => valid.unwrap_or(self.refresh_rate),
            DnsAnswer::NoSuchName | DnsAnswer::Failed(_) => back_off(known.failures, self.refresh_rate),
        };
        known.due = Some(now + wait);
        Some(Learnt { clusters: known.clusters.clone(), outcome })
    }
}

impl KnownName {
    /// A name with configured addresses, or one to be resolved.
    fn new(written: Option<&Vec<HostAddress>>, now: Instant) -> Self {
        match written {
            Some(addresses) => Self { addresses: addresses.clone(), answered: true, ..Self::default() },
            None => Self { due: Some(now), ..Self::default() },
        }
    }

    fn learn(&mut self, name: &str, answer: &DnsAnswer, first: bool) -> LookupOutcome {
        let before = self.failures;
        match answer {
            DnsAnswer::At { addresses, .. } => {
                (self.failures, self.gone) = (0, false);
                if addresses.len() > MOST_ADDRESSES {
                    warn!("{name} has {} addresses, of which the first {MOST_ADDRESSES} are used", addresses.len());
                }
                let used = addresses.iter().take(MOST_ADDRESSES);
                self.addresses = used.map(|ip| HostAddress { ip: *ip, port: None }).collect();
                if before > 0 {
                    info!("{name} is resolved again");
                }
                return LookupOutcome::Found;
            }
            DnsAnswer::NoSuchName => {
                (self.failures, self.gone) = (before.saturating_add(1), true);
                if before == 0 {
                    warn!("{name} has no address: the name does not exist");
                }
                return LookupOutcome::Empty;
            }
            DnsAnswer::Failed(why) => {
                self.failures = before.saturating_add(1);
                if before == 0 {
                    let meanwhile = if first || self.addresses.is_empty() { "" } else { "; what it was goes on" };
                    warn!("{name} cannot be resolved: {why}{meanwhile}");
                }
            }
        }
        LookupOutcome::Failed
    }
}

/// The wait after so many failures in a row, at least one.
fn back_off(failures: u32, most: Duration) -> Duration {
    let doubled = FIRST_WAIT.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(most)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::istio;
    use crate::plan::{Overrides, compile};

    const SECOND: Duration = Duration::from_secs(1);

    /// A plan with a cluster for each host, of this resolution, and these settings of the Proxy.
    fn plan(hosts: &[(&str, &str)], spec: &str) -> Plan {
        let mut yaml = format!(
            "apiVersion: ringway.dev/v1\nkind: Proxy\nmetadata: {{name: p}}\nspec: {{mesh: {{listen: \
             '127.0.0.1:15001'}}, meshConfig: {{outboundTrafficPolicy: {{mode: REGISTRY_ONLY}}}}, {spec}}}\n"
        );
        for (host, resolution) in hosts {
            yaml += &format!(
                "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {}}}\nspec: {{hosts: \
                 [{host}], resolution: {resolution}, ports: [{{number: 80, name: http, protocol: HTTP}}]}}\n",
                host.replace('.', "-")
            );
        }
        let (world, problems) = istio::read_text(&yaml, istio::Options::default());
        assert!(!problems.iter().any(istio::problem::Problem::is_error), "{problems:?}");
        compile(&world, ProxySettings::resolve(&world.proxy, &Overrides::default())).0
    }

    struct Book {
        names: Names,
        plan: Plan,
        now: Instant,
        next: Box<dyn FnMut() -> Option<Box<str>>>,
    }

    impl Book {
        fn of(mut plan: Plan) -> Self {
            let (asker, next) = Asker::unheard();
            let now = crate::io::now();
            let mut names = Names::asking(asker, &plan.proxy);
            names.fill(&mut plan, now);
            names.installed(&plan);
            Self { names, plan, now, next: Box::new(next) }
        }

        /// The queries that are due after this time.
        fn asked_after(&mut self, time: Duration) -> Vec<String> {
            self.now += time;
            self.names.ask_due(self.now);
            let mut asked: Vec<String> = std::iter::from_fn(&mut self.next).map(String::from).collect();
            asked.sort();
            asked
        }

        fn answer(&mut self, name: &str, answer: &DnsAnswer) -> Option<Learnt> {
            self.names.answered(name, answer, self.now)
        }

        /// The members of the plan's clusters.
        fn members(&self) -> Vec<Vec<String>> {
            let clusters = self.plan.clusters.iter().filter_map(|cluster| self.names.members(cluster));
            clusters.map(|found| found.endpoints.iter().map(|member| member.address.to_string()).collect()).collect()
        }

        /// Puts another plan in force.
        fn reload(&mut self, mut plan: Plan) {
            self.names.fill(&mut plan, self.now);
            self.names.installed(&plan);
            self.plan = plan;
        }
    }

    fn at(ip: &str, seconds: u64) -> DnsAnswer {
        let valid = (seconds > 0).then(|| Duration::from_secs(seconds));
        DnsAnswer::At { addresses: vec![ip.parse().expect("an address")], valid }
    }

    fn failed() -> DnsAnswer {
        DnsAnswer::Failed("nobody answers".to_owned())
    }

    #[test]
    fn a_name_is_asked_about_again_when_its_answer_holds_no_longer() {
        let mut book = Book::of(plan(&[("a.com", "DNS"), ("b.com", "DNS")], ""));
        assert_eq!(book.asked_after(Duration::ZERO), ["a.com", "b.com"]);
        assert_eq!(book.asked_after(SECOND), [""; 0], "once is enough while nobody has answered");
        assert!(!book.names.all_answered());
        let learnt = book.answer("a.com", &at("10.0.0.1", 5)).expect("it is known");
        assert_eq!((learnt.clusters.len(), learnt.outcome), (1, LookupOutcome::Found));
        book.answer("b.com", &at("10.0.0.2", 0));
        assert!(book.names.all_answered());
        assert_eq!(book.members(), [["10.0.0.1:80"], ["10.0.0.2:80"]]);
        assert_eq!(book.names.next_due(), Some(book.now + 5 * SECOND));
        assert_eq!(book.asked_after(5 * SECOND), ["a.com"]);
        assert_eq!(book.asked_after(55 * SECOND), ["b.com"], "dnsRefreshRate, since the answer does not say");
        assert_eq!(book.answer("c.com", &failed()), None, "whom nobody needs");
    }

    #[test]
    fn failures_are_followed_by_longer_waits_and_take_nothing_away() {
        let mut book = Book::of(plan(&[("a.com", "DNS"), ("first.com", "DNS_ROUND_ROBIN")], ""));
        book.asked_after(Duration::ZERO);
        book.answer("a.com", &at("10.0.0.1", 1));
        book.answer("first.com", &at("10.0.0.2", 3600));
        for wait in [1, 1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(book.asked_after(wait * SECOND - SECOND / 2), [""; 0]);
            assert_eq!(book.asked_after(SECOND / 2), ["a.com"], "after {wait} s");
            assert_eq!(book.answer("a.com", &failed()).map(|learnt| learnt.outcome), Some(LookupOutcome::Failed));
            assert_eq!(book.members(), [["10.0.0.1:80"], ["10.0.0.2:80"]]);
        }
        // A name that does not exist removes the endpoints, but not the single one of a LOGICAL_DNS cluster.
        book.answer("a.com", &DnsAnswer::NoSuchName);
        book.answer("first.com", &DnsAnswer::NoSuchName);
        assert_eq!(book.members(), [vec![], vec!["10.0.0.2:80"]]);
        book.answer("a.com", &failed());
        assert_eq!(book.members(), [vec![], vec!["10.0.0.2:80"]]);
        book.answer("a.com", &at("10.0.0.3", 1));
        assert_eq!(book.members(), [["10.0.0.3:80"], ["10.0.0.2:80"]]);
        assert_eq!(book.asked_after(SECOND), ["a.com", "first.com"], "the waits are short again");
    }

    #[test]
    fn a_reload_keeps_what_is_known_and_forgets_what_is_not_needed() {
        let mut book = Book::of(plan(&[("a.com", "DNS"), ("b.com", "DNS")], ""));
        book.asked_after(Duration::ZERO);
        book.answer("a.com", &at("10.0.0.1", 60));
        book.answer("b.com", &at("10.0.0.2", 60));
        book.reload(plan(&[("a.com", "DNS"), ("c.com", "DNS")], ""));
        let filled: Vec<usize> = book.plan.clusters.iter().map(|cluster| cluster.endpoints.len()).collect();
        assert_eq!(filled, [1, 0], "a plan has what is known before anybody serves it");
        assert!(!book.names.all_answered());
        assert_eq!(book.asked_after(Duration::ZERO), ["c.com"]);
        assert_eq!(book.answer("b.com", &at("10.0.0.9", 60)), None);
        // A refused plan leaves no names behind.
        let mut refused = plan(&[("d.com", "DNS")], "");
        book.names.fill(&mut refused, book.now);
        book.names.go_back_to(&book.plan, book.now);
        assert_eq!(book.asked_after(Duration::ZERO), [""; 0]);
    }

    #[test]
    fn written_hosts_are_never_asked_about() {
        let hosts = "dns: {hosts: {a.com: ['10.0.0.1:8000', 10.0.0.2]}}";
        let mut book = Book::of(plan(&[("a.com", "DNS")], hosts));
        assert!(book.names.all_answered());
        assert_eq!((book.asked_after(Duration::ZERO), book.names.next_due()), (vec![], None));
        assert_eq!(book.members(), [["10.0.0.1:8000", "10.0.0.2:80"]]);
        let question = || AddressRequest { worker: 0, authority: "a.com:81".into(), ours: Vec::new() };
        assert!(book.names.question("a.com", question()).is_some_and(|(_, addresses)| addresses.len() == 2));
        // Other settings: known addresses are used until a new server has answered.
        book.reload(plan(&[("a.com", "DNS")], ""));
        assert_eq!(book.members(), [["10.0.0.1:8000", "10.0.0.2:80"]]);
        assert_eq!(book.asked_after(Duration::ZERO), ["a.com"]);
        book.reload(plan(&[("a.com", "DNS")], "dns: {hosts: {a.com: 10.0.0.3}}"));
        assert_eq!(book.members(), [["10.0.0.3:80"]]);
        let cluster = Arc::clone(&book.plan.clusters[0]);
        assert_eq!(cluster.endpoints.len(), 1);
    }

    #[test]
    fn one_question_for_all_who_want_to_know() {
        let mut book = Book::of(plan(&[("a.com", "DNS")], ""));
        book.asked_after(Duration::ZERO);
        let question = |worker| AddressRequest { worker, authority: "b.com".into(), ours: Vec::new() };
        for worker in 0..3 {
            assert!(book.names.question("b.com", question(worker)).is_none());
        }
        assert!(book.names.question("a.com", question(3)).is_none(), "it is being asked about");
        assert_eq!(book.asked_after(Duration::ZERO), ["b.com"]);
        assert_eq!(book.names.questions("b.com").len(), 3);
        assert_eq!(book.answer("b.com", &at("10.0.0.1", 1)), None);
        assert_eq!(book.names.questions("a.com").len(), 1);
        assert!(book.names.question("b.com", question(0)).is_none());
        assert_eq!(book.asked_after(Duration::ZERO), ["b.com"], "what was answered can be asked anew");
    }

    #[test]
    fn waits_grow_up_to_the_refresh_rate() {
        let waits = |most| -> Vec<u64> {
            (1..=8).map(|failures| back_off(failures, Duration::from_secs(most)).as_secs()).collect()
        };
        assert_eq!(waits(60), [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(back_off(1, Duration::from_millis(200)), Duration::from_millis(200));
        assert_eq!(back_off(u32::MAX, Duration::from_secs(u64::MAX)), FIRST_WAIT * (1 << 16));
    }
}
