//! Routes that lead back to their own listener.

use super::*;

/// A gateway that is bound to 127.0.0.1:8080, and what says where its only rule goes.
fn problems(address: &str, port: u16, fields: &str) -> Vec<String> {
    let yaml = format!(
        "{}{}---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: s}}\nspec:\n  hosts: \
         [next.example.com]\n  ports: [{{number: 80, name: http, protocol: HTTP, targetPort: {port}}}]\n  resolution: \
         STATIC\n  endpoints: [{{address: {address}}}]\n---\napiVersion: ringway.dev/v1\nkind: Proxy\nmetadata: {{name: \
         p}}\nspec: {{bind: 127.0.0.1, ports: {{80: 8080}}, mesh: {{listen: '127.0.0.1:15001'}}, meshConfig: \
         {{accessLogFile: /dev/null}}}}\n",
        gateway("g", 80, "['*']"),
        virtual_service(
            "v",
            "['*']",
            "[g]",
            &format!("[{{{fields}route: [{{destination: {{host: next.example.com}}}}]}}]")
        ),
    );
    let (_, problems) = compiled(&yaml);
    problems.into_iter().filter(|problem| problem.contains("listens itself")).collect()
}

#[test]
fn a_gateway_that_would_call_itself() {
    assert_eq!(problems("127.0.0.1", 8081, ""), [""; 0]);
    assert_eq!(problems("127.0.0.2", 8080, ""), [""; 0]);
    let found = problems("127.0.0.1", 8080, "");
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0].contains(
            "VirtualService/default/v: spec.http[0].route: error: sends requests of Gateway port 80 to 127.0.0.1:8080, where it \
             listens itself: they would go round for ever"
        ),
        "{found:#?}"
    );
    // What comes back changed may find another way.
    let found = problems("127.0.0.1", 8080, "rewrite: {authority: other.example.com}, ");
    assert!(found.len() == 1 && found[0].contains(": warning: sends requests"), "{found:#?}");
}

#[test]
fn a_mesh_listener_that_would_call_itself() {
    let found = problems("127.0.0.1", 15001, "");
    assert!(
        found.len() == 1 && found[0].contains("ServiceEntry/default/s: error: sends requests of the mesh to"),
        "{found:#?}"
    );
}
