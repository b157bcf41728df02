//! What a reload does to ejections: those of endpoints that stay remain, those of endpoints that go are gone, and with
//! `outlierDetection` all of them.

use super::{Config, Site, on_each_driver, replace};
use crate::support::origin::Origin;
use crate::support::ringway::Driver;
use crate::support::wait::eventually;

on_each_driver![
    who_stays_stays_out,
    who_goes_leaves_its_place,
    without_the_rule_nobody_is_out,
    a_lower_threshold_is_met,
];

fn fails(name: &'static str) -> Origin {
    Origin::replying(format!("HTTP/1.1 500 X\r\ncontent-length: {}\r\n\r\n{name}", name.len()))
}

const RULE: &str = "consecutive5xxErrors: 1, baseEjectionTime: 60s";

/// The routing, and a rule for its service.
fn yaml(config: &Config, rule: &str) -> String {
    format!(
        "{}---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: rule}}\nspec: {{host: {}, \
         trafficPolicy: {{outlierDetection: {{{rule}}}}}}}\n",
        config.yaml(),
        config.service
    )
}

fn reload(site: &Site, yaml: &str) {
    let before = site.reloads();
    replace(&site.file(), yaml);
    site.hang_up();
    eventually("the reload", || (site.reloads() > before).then_some(()));
}

fn begin(driver: Driver, config: &Config, rule: &str) -> Site {
    let site = Site::new(driver, &Config { service: "before".to_owned(), ..config.clone() });
    reload(&site, &yaml(config, rule));
    site
}

fn active(site: &Site, config: &Config) -> u64 {
    site.ringway.stat(&format!("{}.outlier_detection.ejections_active", config.cluster()))
}

fn enforced(site: &Site, config: &Config) -> u64 {
    site.ringway.stat(&format!("{}.outlier_detection.ejections_enforced_total", config.cluster()))
}

fn who_stays_stays_out(driver: Driver) {
    let (one, two, three) = (fails("one"), fails("two"), fails("three"));
    let rule = format!("{RULE}, maxEjectionPercent: 100");
    let config = Config::to(&[&one, &two]);
    let site = begin(driver, &config, &rule);
    let first = site.answer();
    let more = Config::to(&[&one, &two, &three]);
    for (number, config) in [&more, &config, &more].into_iter().enumerate() {
        reload(&site, &yaml(&Config { condition: Some(number.to_string()), ..config.clone() }, &rule));
        assert_eq!(active(&site, config), 1);
    }
    let mut rest: Vec<String> = (0..3).map(|_| site.answer()).collect();
    rest.push(first);
    rest.sort();
    assert_eq!(rest, ["no healthy upstream", "one", "three", "two"], "each is asked once");
    assert_eq!((active(&site, &more), enforced(&site, &more)), (3, 3));
    site.ringway.stop();
}

fn who_goes_leaves_its_place(driver: Driver) {
    let (one, two, three) = (fails("one"), fails("two"), fails("three"));
    let rule = format!("{RULE}, maxEjectionPercent: 50");
    let both = Config::to(&[&one, &two]);
    let site = begin(driver, &both, &rule);
    let first = site.answer();
    assert_eq!((active(&site, &both), enforced(&site, &both)), (1, 1));
    let (left, name) = if first == "one" { (&two, "two") } else { (&one, "one") };
    assert_eq!([site.answer(), site.answer()], [name, name], "no place for it, yet");

    // The one that is out goes, and another comes: there is a place again.
    let config = Config::to(&[left, &three]);
    reload(&site, &yaml(&config, &rule));
    assert_eq!(active(&site, &config), 0, "who is out has gone");
    let (first, second) = (site.answer(), site.answer());
    assert_ne!(first, second, "the first to fail is out");
    assert_eq!(site.answer(), second);
    assert_eq!((active(&site, &config), enforced(&site, &config)), (1, 2));
    let healthy = format!("{}.membership_healthy", config.cluster());
    assert_eq!(site.ringway.stat(&healthy), 1);

    // Who comes back is somebody new.
    reload(&site, &yaml(&Config::to(&[&one, &two, &three]), &rule));
    let out = site.ringway.admin("/clusters").text().matches("/failed_outlier_check").count();
    assert_eq!((out as u64, active(&site, &config)), (1, 1));
    site.ringway.stop();
}

fn without_the_rule_nobody_is_out(driver: Driver) {
    let one = fails("one");
    let rule = format!("{RULE}, maxEjectionPercent: 100");
    let config = Config::to(&[&one]);
    let site = begin(driver, &config, &rule);
    assert_eq!([site.answer(), site.answer()], ["one", "no healthy upstream"]);
    reload(&site, &config.yaml());
    assert_eq!([site.answer(), site.answer()], ["one", "one"]);
    assert_eq!(active(&site, &config), 0);
    assert_eq!(site.ringway.stat(&format!("{}.membership_healthy", config.cluster())), 1);
    assert!(!site.ringway.admin("/clusters").text().contains("failed_outlier_check"));
    reload(&site, &yaml(&config, &rule));
    assert_eq!([site.answer(), site.answer()], ["one", "no healthy upstream"], "and all begins anew");
    site.ringway.stop();
}

fn a_lower_threshold_is_met(driver: Driver) {
    let one = fails("one");
    let config = Config::to(&[&one]);
    let rule = |errors: u32| format!("consecutive5xxErrors: {errors}, maxEjectionPercent: 100, baseEjectionTime: 60s");
    let site = begin(driver, &config, &rule(9));
    (0..5).for_each(|_| assert_eq!(site.answer(), "one"));
    reload(&site, &yaml(&config, &rule(3)));
    (0..3).for_each(|_| assert_eq!(site.answer(), "one"));
    assert_eq!(site.answer(), "no healthy upstream");
    assert_eq!(one.requests().len(), 8);
    site.ringway.stop();
}
