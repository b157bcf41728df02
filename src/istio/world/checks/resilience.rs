//! Likely mistakes in a rule's faults, timeouts, retries and mirrors.

use std::time::Duration;

use super::{Checks, rule_path};
use crate::istio::model::scalar::StringMatch;
use crate::istio::model::virtual_service::{Fault, HttpRoute, Retries, VirtualService};
use crate::istio::problem::Source;

/// The conditions of `retryOn` that an attempt meets which `perTryTimeout` ended.
const AFTER_TIMEOUT: [&str; 3] = ["5xx", "gateway-error", "reset"];

/// The conditions that connections which break meet.
const AFTER_BREAK: [&str; 5] = ["5xx", "gateway-error", "reset", "reset-before-request", "connect-failure"];

/// Methods that may be repeated without harm (RFC 9110, 9.2.2).
const IDEMPOTENT: [&str; 6] = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"];

impl Checks<'_> {
    pub(super) fn resilience(&mut self) {
        let world = self.world;
        for service in &world.virtual_services {
            for route in &service.http {
                self.faults(service, route);
                if let Some(retries) = &route.retries {
                    let path = format!("{}.retries", rule_path(route));
                    self.retries(&service.meta.source, &path, retries, route.timeout);
                    self.repeated(service, route, retries);
                }
            }
            self.mirrored_hosts(service);
        }
        if let Some(retries) = &world.proxy.mesh_config.default_http_retry_policy {
            self.retries(&world.proxy.source, "spec.meshConfig.defaultHttpRetryPolicy", retries, None);
        }
    }

    /// A fault comes before timeouts and attempts begin.
    fn faults(&mut self, service: &VirtualService, route: &HttpRoute) {
        let Some(Fault { delay, abort }) = &route.fault else { return };
        let path = format!("{}.fault", rule_path(route));
        let retries = route.retries.as_ref().filter(|retries| retries.attempts > 0);
        let elsewhere = "to see the caller time out or retry, delay the service that is called, in its own rule";
        if let Some(delay) = delay.filter(|delay| delay.percent > 0.0) {
            let path = format!("{path}.delay");
            if let Some(timeout) = route.timeout {
                let what = format!("is not covered by the timeout of {timeout:?}, which begins after it");
                self.warn(service, &path, what, elsewhere);
            }
            if retries.is_some() {
                let what = "comes before the first try, so it is neither cut short nor retried".to_owned();
                self.warn(service, &path, what, elsewhere);
            }
            if let Some(try_timeout) = retries.and_then(|retries| retries.per_try_timeout)
                && try_timeout < delay.fixed
            {
                let what =
                    format!("requests seen to be repeated under this delay of {:?} are the caller's own", delay.fixed);
                let instead = "Istio's productpage, for one, calls twice, with a timeout of 3s each";
                self.note(service, &path, what, instead);
            }
        }
        if abort.is_some_and(|abort| abort.percent > 0.0) && retries.is_some() {
            let what = "is answered here and never retried".to_owned();
            self.warn(service, &format!("{path}.abort"), what, "let the service that is called answer with the error");
        }
    }

    /// Retries do not look at the method.
    fn repeated(&mut self, service: &VirtualService, route: &HttpRoute, retries: &Retries) {
        let after_the_request = |condition: &String| {
            AFTER_TIMEOUT.contains(&condition.as_str()) || condition.starts_with(|c: char| c.is_ascii_digit())
        };
        let harmless = !route.matches.is_empty()
            && route.matches.iter().all(|block| {
                matches!(&block.method, Some(StringMatch::Exact(method)) if IDEMPOTENT.contains(&method.as_str()))
            });
        let unknown = self.is_unknown(service, &format!("{}.match", rule_path(route)));
        if retries.attempts == 0 || harmless || unknown || !retries.retry_on.iter().any(after_the_request) {
            return;
        }
        let what =
            format!("any method is repeated, POST too: up to {} requests for one", u64::from(retries.attempts) + 1);
        let instead = "match the methods that may be; a DestinationRule's retryBudget bounds the load";
        self.note(service, &format!("{}.retries", rule_path(route)), what, instead);
    }

    /// The name that mirrors are called by. Once for each VirtualService.
    fn mirrored_hosts(&mut self, service: &VirtualService) {
        let suffix = &self.world.proxy.mirror_host_suffix;
        let unknown = |route: &HttpRoute| {
            let fields = ["mirror", "mirrors", "mirrorPercentage", "mirrorPercent"];
            fields.iter().any(|field| self.is_unknown(service, &format!("{}.{field}", rule_path(route))))
        };
        // The first of them is where it is said.
        let mirrored = service.http.iter().take_while(|route| !unknown(route)).find_map(|route| {
            let (field, ..) = route.mirroring.destinations().find(|(_, _, percent)| *percent > 0.0)?;
            Some(format!("{}.{field}", rule_path(route)))
        });
        if let Some(path) = mirrored.filter(|_| !suffix.is_empty()) {
            let what = format!("copies have \"{suffix}\" after the name in their Host");
            let instead = "where the mirror routes by Host, write the Proxy's mirrorHostSuffix: \"\"";
            self.note(service, &path, what, instead);
        }
    }

    /// Parts of a retry policy without effect, or with less than expected.
    fn retries(&mut self, source: &Source, path: &str, retries: &Retries, timeout: Option<Duration>) {
        if retries.attempts == 0 {
            return;
        }
        let on = |conditions: &[&str]| retries.retry_on.iter().any(|own| conditions.contains(&own.as_str()));
        let unknown_conditions = self.damage.touches(source, &format!("{path}.retryOn"));
        if let Some(try_timeout) = retries.per_try_timeout {
            let path = format!("{path}.perTryTimeout");
            if let Some(timeout) = timeout.filter(|timeout| *timeout <= try_timeout) {
                let what = format!("is not shorter than the timeout of {timeout:?}, so it has no effect");
                self.problems.push(source.warning(&path, what, "make it shorter"));
            } else if !on(&AFTER_TIMEOUT) && !unknown_conditions {
                let list = if retries.retry_on.is_empty() { "the default \"retryOn\"" } else { "\"retryOn\"" };
                let what =
                    format!("a try that is cut short is not retried: {list} has none of {}", AFTER_TIMEOUT.join(", "));
                self.problems.push(source.warning(&path, what, "write \"retryOn\" with one of them"));
            }
        }
        if retries.retry_on.iter().any(|own| own.parse::<u16>().is_ok()) && !on(&AFTER_BREAK) {
            let what = "statuses are those that the upstream sends: connections that break or fail are not retried";
            self.problems.push(source.note(&format!("{path}.retryOn"), what, "add \"connect-failure,reset\""));
        }
    }
}
