//! `WorkloadGroup` (Istio `networking/v1alpha3/workload_group.proto`): a template from which Istio makes WorkloadEntries
//! when virtual machines report to it. It makes no endpoints by itself, so it is checked and not kept.

use super::workload_entry;
use crate::istio::reader::{Item, Message, ignored};

const REASON: &str = "a template of WorkloadEntries: it makes no endpoints by itself";

const WORKLOAD_GROUP: Message = Message {
    name: "WorkloadGroup",
    fields: &[ignored("metadata", REASON), ignored("template", REASON), ignored("probe", REASON)],
};

const OBJECT_META: Message =
    Message { name: "ObjectMeta", fields: &[ignored("labels", REASON), ignored("annotations", REASON)] };

const READINESS_PROBE: Message = Message {
    name: "ReadinessProbe",
    fields: &[
        ignored("initialDelaySeconds", REASON),
        ignored("timeoutSeconds", REASON),
        ignored("periodSeconds", REASON),
        ignored("successThreshold", REASON),
        ignored("failureThreshold", REASON),
        ignored("httpGet", REASON),
        ignored("tcpSocket", REASON),
        ignored("exec", REASON),
        ignored("grpc", REASON),
    ],
};

const HTTP_CHECK: Message = Message {
    name: "HTTPHealthCheckConfig",
    fields: &[
        ignored("path", REASON),
        ignored("port", REASON),
        ignored("host", REASON),
        ignored("scheme", REASON),
        ignored("httpHeaders", REASON),
    ],
};

const HTTP_HEADER: Message =
    Message { name: "HTTPHeader", fields: &[ignored("name", REASON), ignored("value", REASON)] };

const TCP_CHECK: Message =
    Message { name: "TCPHealthCheckConfig", fields: &[ignored("host", REASON), ignored("port", REASON)] };

const EXEC_CHECK: Message = Message { name: "ExecHealthCheckConfig", fields: &[ignored("command", REASON)] };

const GRPC_CHECK: Message =
    Message { name: "GrpcHealthCheckConfig", fields: &[ignored("port", REASON), ignored("service", REASON)] };

/// The tables of this kind.
pub(in crate::istio) const MESSAGES: &[&Message] =
    &[&WORKLOAD_GROUP, &OBJECT_META, &READINESS_PROBE, &HTTP_CHECK, &HTTP_HEADER, &TCP_CHECK, &EXEC_CHECK, &GRPC_CHECK];

/// Checks `spec`.
pub(in crate::istio) fn check(spec: &Item<'_>) -> Option<()> {
    let object = spec.object(&WORKLOAD_GROUP)?;
    spec.warn("is a template: it makes no endpoints by itself", "write a WorkloadEntry for each address");
    object.verify("metadata", |item| {
        let object = item.object(&OBJECT_META)?;
        object.verify("labels", |item| Some(item.labels()));
        object.verify("annotations", |item| Some(item.string_map()));
        Some(())
    });
    object.verify("probe", probe);
    workload_entry::check_template(&object.required("template")?)
}

/// Kubernetes' own rule, narrower than HTTP's.
fn header_name(item: &Item<'_>) -> Option<()> {
    let name = item.string()?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if name.is_empty() || !name.bytes().all(fits) {
        item.error(format!("\"{name}\" is not a probe's header name"), "letters, digits, \"-\" and \"_\"");
    }
    Some(())
}

fn probe(item: &Item<'_>) -> Option<()> {
    let object = item.object(&READINESS_PROBE)?;
    for name in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        object.verify(name, |item| item.whole(0, i32::MAX as u32));
    }
    let written: Vec<_> = ["httpGet", "tcpSocket", "exec", "grpc"]
        .into_iter()
        .filter_map(|name| Some((name, object.get(name)?)))
        .collect();
    let [(name, check)] = written.as_slice() else {
        item.error("needs exactly one way to look", "write \"httpGet\", \"tcpSocket\", \"exec\" or \"grpc\"");
        return None;
    };
    match *name {
        "httpGet" => {
            let object = check.object(&HTTP_CHECK)?;
            object.required("port").and_then(|item| item.port());
            object.verify("scheme", |item| item.one_of(&["HTTP", "HTTPS"]));
            object.verify_each("httpHeaders", |item| header_name(&item.object(&HTTP_HEADER)?.required("name")?));
        }
        "tcpSocket" => drop(check.object(&TCP_CHECK)?.required("port")?.port()),
        "grpc" => drop(check.object(&GRPC_CHECK)?.required("port")?.port()),
        _ => {
            let object = check.object(&EXEC_CHECK)?;
            if object.list("command").is_empty() {
                check.error("has no command", "write it under \"command\"");
            }
        }
    }
    Some(())
}
