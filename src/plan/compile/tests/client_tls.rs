//! `tls`: what goes before what.

use super::*;
use crate::plan::Trust;

/// A block that is known by its name.
fn tls(sni: &str) -> String {
    format!("tls: {{mode: SIMPLE, insecureSkipVerify: true, sni: {sni}}}")
}

const DISABLE: &str = "tls: {mode: DISABLE}";

/// An entry for a port, with this in it.
fn port(number: u16, block: &str) -> String {
    format!("portLevelSettings: [{{port: {{number: {number}}}, {block}}}]")
}

/// The name that is asked for where the rule's policy is `whole` and that of the subset, which requests go to, is `subset`;
/// `plain` without TLS.
fn asked_for(whole: &str, subset: &str) -> String {
    let own = if subset.is_empty() { String::new() } else { format!(", trafficPolicy: {{{subset}}}") };
    let rule = format!("trafficPolicy: {{{whole}}}\n  subsets: [{{name: v1{own}}}]");
    let to = "[{route: [{destination: {host: a, subset: v1, port: {number: 8000}}}]}]";
    let yaml = gateway("g", 80, "['*']") + &virtual_service("v", "['*']", "[g]", to) + SERVICE_A;
    let (plan, _) = compiled(&(yaml + &destination_rule("d", "default", "a", &rule)));
    let [cluster] = plan.clusters.as_slice() else { panic!("{:?}", plan.clusters) };
    match &cluster.tls {
        None => "plain".to_owned(),
        Some(tls) => {
            assert_eq!(tls.trust, Trust::Anyone);
            tls.sni.as_deref().expect("a name").to_owned()
        }
    }
}

#[test]
fn a_subset_goes_before_the_rule_and_a_port_before_both() {
    let (rule, of_port, of_subset, last) = (tls("rule"), tls("port"), tls("subset"), tls("last"));
    let random = "loadBalancer: {simple: RANDOM}";
    for (whole, subset, expected) in [
        (random, "", "plain"),
        (DISABLE, "", "plain"),
        (&*rule, "", "rule"),
        (&rule, random, "rule"),
        (&rule, &of_subset, "subset"),
        (&rule, DISABLE, "plain"),
        (random, &of_subset, "subset"),
        // An entry for the port stands in place of the whole policy, also where it says nothing of TLS.
        (&format!("{rule}, {}", port(8000, &of_port)), "", "port"),
        (&format!("{rule}, {}", port(8001, &of_port)), "", "rule"),
        (&format!("{rule}, {}", port(8000, random)), "", "plain"),
        (&format!("{rule}, {}", port(8000, &of_port)), &of_subset, "subset"),
        (&rule, &format!("{of_subset}, {}", port(8000, &last)), "last"),
        (&rule, &format!("{of_subset}, {}", port(8000, random)), "plain"),
        (&format!("{rule}, {}", port(8000, &of_port)), &port(8001, &last), "port"),
    ] {
        assert_eq!(asked_for(whole, subset), expected, "{whole} | {subset}");
    }
}
