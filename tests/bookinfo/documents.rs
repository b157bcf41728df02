//! What the files of Istio's `samples/bookinfo/networking` say, by their names.

/// `bookinfo-gateway` and `destination-rule-all`: there in every case.
pub(crate) const ALWAYS: &str = r#"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: bookinfo-gateway}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 8080, name: http, protocol: HTTP}
    hosts: ["*"]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bookinfo}
spec:
  hosts: ["*"]
  gateways: [bookinfo-gateway]
  http:
  - match:
    - uri: {exact: /productpage}
    - uri: {prefix: /static}
    - uri: {exact: /login}
    - uri: {exact: /logout}
    - uri: {prefix: /api/v1/products}
    route:
    - destination: {host: productpage, port: {number: 9080}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: productpage}
spec: {host: productpage, subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
  - {name: v3, labels: {version: v3}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ratings}
spec:
  host: ratings
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
  - {name: v2-mysql, labels: {version: v2-mysql}}
  - {name: v2-mysql-vm, labels: {version: v2-mysql-vm}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: details}
spec:
  host: details
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
"#;

/// A VirtualService of this name for the host of this name.
fn virtual_service(name: &str, rules: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\nspec:\n  hosts: [{name}]\n  \
         http:\n{rules}\n"
    )
}

fn to(host: &str, subset: &str) -> String {
    format!("route: [{{destination: {{host: {host}, subset: {subset}}}}}]")
}

/// `virtual-service-all-v1`.
pub(crate) fn all_v1() -> String {
    let of = |name: &&str| virtual_service(name, &format!("  - {}", to(name, "v1")));
    ["productpage", "reviews", "ratings", "details"].iter().map(of).collect::<Vec<_>>().join("---\n")
}

/// `virtual-service-reviews-v3`.
pub(crate) fn reviews_v3() -> String {
    virtual_service("reviews", &format!("  - {}", to("reviews", "v3")))
}

/// `virtual-service-reviews-test-v2` (`rest` v1), `virtual-service-reviews-jason-v2-v3` (v3).
pub(crate) fn reviews_jason_v2(rest: &str) -> String {
    let jason = format!("  - match: [{{headers: {{end-user: {{exact: jason}}}}}}]\n    {}", to("reviews", "v2"));
    virtual_service("reviews", &format!("{jason}\n  - {}", to("reviews", rest)))
}

/// `virtual-service-reviews-90-10` and its like: a weight for each version.
pub(crate) fn reviews_weighted(shares: [(&str, usize); 2]) -> String {
    let share =
        |(subset, weight)| format!("    - {{destination: {{host: reviews, subset: {subset}}}, weight: {weight}}}");
    virtual_service("reviews", &format!("  - route:\n{}", shares.map(share).join("\n")))
}

/// `virtual-service-ratings-test-delay` and `virtual-service-ratings-test-abort`: a fault for jason.
fn ratings_fault(fault: &str) -> String {
    let jason = format!(
        "  - match: [{{headers: {{end-user: {{exact: jason}}}}}}]\n    fault: {fault}\n    {}",
        to("ratings", "v1")
    );
    virtual_service("ratings", &format!("{jason}\n  - {}", to("ratings", "v1")))
}

pub(crate) fn ratings_delayed() -> String {
    ratings_fault("{delay: {percentage: {value: 100.0}, fixedDelay: 7s}}")
}

pub(crate) fn ratings_aborted() -> String {
    ratings_fault("{abort: {percentage: {value: 100.0}, httpStatus: 500}}")
}

/// `fault-injection-details-v1`: a rule for everything, before another one. Its DestinationRule is in [`ALWAYS`].
pub(crate) fn details_aborted() -> String {
    let aborted = "fault: {abort: {httpStatus: 555, percentage: {value: 100}}}";
    let rules = format!("  - {aborted}\n    {}\n  - {}", to("details", "v1"), to("details", "v1"));
    virtual_service("details", &rules)
}
