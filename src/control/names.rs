//! The names that control knows: those of the clusters in force, when each is to be asked about again, and who waits
//! for the answer to which question.
//!
//! It decides and remembers; asking is `dns`'s, and what answers mean to the workers is `members`'. An answer is used
//! for as long as it says; one that is needed longer, because nobody answers any more, stays. Who is not known is asked
//! about again after a second, then two, four, and so on up to `dnsRefreshRate`.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::Event;
use super::dns::{Answer, Asker};
use super::resolve::Question;
use crate::plan::{Cluster, Dns, HostAddress, MOST_ADDRESSES, NameKind, Plan, ProxySettings};

/// The first wait after a failure.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// All that is known of names.
pub(super) struct Names {
    asker: Asker,
    settings: Dns,
    refresh_rate: Duration,
    /// Those of clusters.
    known: HashMap<Box<str>, Known>,
    /// Those that are being asked about.
    asked: HashSet<Box<str>>,
    /// What workers want to know of names.
    questions: HashMap<Box<str>, Vec<Question>>,
}

/// A name of a cluster.
#[derive(Debug, Default)]
struct Known {
    /// The clusters that it is in, as positions in the plan.
    clusters: Vec<usize>,
    addresses: Vec<HostAddress>,
    /// There is no such name any more: the addresses are what it had last.
    gone: bool,
    /// Whether there ever was an answer of any kind.
    answered: bool,
    /// When to ask again; `None`: it is being asked, or nobody need.
    due: Option<Instant>,
    /// Questions in a row without an address for an answer.
    failures: u32,
}

/// What an answer changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Learnt {
    /// The clusters that it is about.
    pub(super) clusters: Vec<usize>,
    /// How it counts.
    pub(super) outcome: Outcome,
}

/// How an answer counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Outcome {
    /// There are addresses.
    #[default]
    Found,
    /// There is no such name.
    Empty,
    /// Nobody answered.
    Failed,
}

impl Names {
    /// Knows nothing yet.
    ///
    /// # Errors
    /// When the process is out of threads or descriptors.
    pub(super) fn start(settings: &ProxySettings, events: Sender<Event>) -> std::io::Result<Self> {
        Ok(Self {
            asker: Asker::start(settings.dns.clone(), events)?,
            settings: settings.dns.clone(),
            refresh_rate: settings.dns_refresh_rate,
            known: HashMap::new(),
            asked: HashSet::new(),
            questions: HashMap::new(),
        })
    }

    /// Makes known the names of a plan that may be in force soon, and gives its clusters the members that are known
    /// already. The other names are asked about.
    pub(super) fn fill(&mut self, plan: &mut Plan, now: Instant) {
        self.configure(&plan.proxy, now);
        let names = plan.clusters.iter().filter_map(|cluster| cluster.discovery.names());
        for name in names.flat_map(|names| names.names()) {
            if !self.known.contains_key(name) {
                self.known.insert(name.into(), Known::new(self.settings.hosts.get(name), now));
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

    /// `cluster` with the members that its names stand for now; `None` if it has no names.
    pub(super) fn members(&self, cluster: &Cluster) -> Option<Cluster> {
        let names = cluster.discovery.names()?;
        let answers = |name: &str| match self.known.get(name) {
            // The single endpoint of a name stays where it was.
            Some(known) if !(known.gone && names.kind == NameKind::Every) => &*known.addresses,
            _ => &[],
        };
        Some(names.resolved(cluster, answers))
    }

    /// Whether every name has been answered in some way, so that waiting longer promises nothing.
    pub(super) fn all_answered(&self) -> bool {
        self.known.values().all(|known| known.answered)
    }

    /// When the next name is to be asked about.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.known.values().filter_map(|known| known.due).min()
    }

    /// Asks about all that are due; gives the clusters that they are asked about for.
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
    pub(super) fn question(&mut self, host: &str, question: Question) -> Option<(Question, Vec<HostAddress>)> {
        if let Some(written) = self.settings.hosts.get(host) {
            return Some((question, written.clone()));
        }
        self.questions.entry(host.into()).or_default().push(question);
        self.ask(host.into());
        None
    }

    /// The questions of workers that this answer is for.
    pub(super) fn questions(&mut self, name: &str) -> Vec<Question> {
        self.questions.remove(name).unwrap_or_default()
    }

    /// An answer has come; `None`: no cluster needs it.
    pub(super) fn answered(&mut self, name: &str, answer: &Answer, now: Instant) -> Option<Learnt> {
        self.asked.remove(name);
        let known = self.known.get_mut(name)?;
        let first = !std::mem::replace(&mut known.answered, true);
        let outcome = known.learn(name, answer, first);
        let wait = match answer {
            Answer::At { valid, .. } => valid.unwrap_or(self.refresh_rate),
            Answer::NoSuchName | Answer::Failed(_) => back_off(known.failures, self.refresh_rate),
        };
        known.due = Some(now + wait);
        Some(Learnt { clusters: known.clusters.clone(), outcome })
    }
}

impl Known {
    /// A name whose addresses are written down, or that is to be asked about.
    fn new(written: Option<&Vec<HostAddress>>, now: Instant) -> Self {
        match written {
            Some(addresses) => Self { addresses: addresses.clone(), answered: true, ..Self::default() },
            None => Self { due: Some(now), ..Self::default() },
        }
    }

    fn learn(&mut self, name: &str, answer: &Answer, first: bool) -> Outcome {
        let before = self.failures;
        match answer {
            Answer::At { addresses, .. } => {
                (self.failures, self.gone) = (0, false);
                if addresses.len() > MOST_ADDRESSES {
                    warn!("{name} has {} addresses, of which the first {MOST_ADDRESSES} are used", addresses.len());
                }
                let used = addresses.iter().take(MOST_ADDRESSES);
                self.addresses = used.map(|ip| HostAddress { ip: *ip, port: None }).collect();
                if before > 0 {
                    info!("{name} is known again");
                }
                return Outcome::Found;
            }
            Answer::NoSuchName => {
                (self.failures, self.gone) = (before.saturating_add(1), true);
                if before == 0 {
                    warn!("{name} has no address: there is no such name");
                }
                return Outcome::Empty;
            }
            Answer::Failed(why) => {
                self.failures = before.saturating_add(1);
                if before == 0 {
                    let meanwhile = if first || self.addresses.is_empty() { "" } else { "; what it was goes on" };
                    warn!("{name} cannot be resolved: {why}{meanwhile}");
                }
            }
        }
        Outcome::Failed
    }
}

/// The wait after so many failures in a row, at least one.
fn back_off(failures: u32, most: Duration) -> Duration {
    let doubled = FIRST_WAIT.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_refresh_rate() {
        let waits =
            |most| (1..=8).map(|failures| back_off(failures, Duration::from_secs(most)).as_secs()).collect::<Vec<_>>();
        assert_eq!(waits(60), [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(back_off(1, Duration::from_millis(200)), Duration::from_millis(200));
        assert_eq!(back_off(u32::MAX, Duration::from_secs(u64::MAX)), FIRST_WAIT * (1 << 16));
    }
}
