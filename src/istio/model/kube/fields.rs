//! The fields of Kubernetes' kinds, as `kubectl get -o yaml` prints them: fields that affect traffic are read, the
//! others are known by name, so that a misspelt name is an error and not a lost field.
//!
//! A Pod's `spec` and `status` belong to the kubelet and have no table: only the Pod's labels and address are read.

use crate::istio::reader::{Message, enforced, ignored};

const CLUSTER: &str = "of the cluster's own network";

const WRITTEN: &str = "written by Kubernetes";

pub(in crate::istio) const SERVICE: Message = Message {
    name: "Service",
    fields: &[
        enforced("apiVersion"),
        enforced("kind"),
        enforced("metadata"),
        enforced("spec"),
        ignored("status", WRITTEN),
    ],
};

pub(in crate::istio) const SERVICE_SPEC: Message = Message {
    name: "ServiceSpec",
    fields: &[
        enforced("type"),
        enforced("ports"),
        enforced("selector"),
        enforced("clusterIP"),
        enforced("clusterIPs"),
        enforced("externalName"),
        ignored("allocateLoadBalancerNodePorts", CLUSTER),
        ignored("externalIPs", CLUSTER),
        ignored("externalTrafficPolicy", CLUSTER),
        ignored("healthCheckNodePort", CLUSTER),
        ignored("internalTrafficPolicy", CLUSTER),
        ignored("ipFamilies", CLUSTER),
        ignored("ipFamily", CLUSTER),
        ignored("ipFamilyPolicy", CLUSTER),
        ignored("loadBalancerClass", CLUSTER),
        ignored("loadBalancerIP", CLUSTER),
        ignored("loadBalancerSourceRanges", CLUSTER),
        ignored("publishNotReadyAddresses", CLUSTER),
        ignored("sessionAffinity", "of kube-proxy; a DestinationRule's consistentHash is what a proxy has"),
        ignored("sessionAffinityConfig", "of kube-proxy; a DestinationRule's consistentHash is what a proxy has"),
        ignored("topologyKeys", CLUSTER),
        ignored("trafficDistribution", CLUSTER),
    ],
};

pub(in crate::istio) const SERVICE_PORT: Message = Message {
    name: "ServicePort",
    fields: &[
        enforced("name"),
        enforced("port"),
        enforced("protocol"),
        enforced("appProtocol"),
        enforced("targetPort"),
        ignored("nodePort", CLUSTER),
    ],
};

pub(in crate::istio) const SESSION_AFFINITY_CONFIG: Message =
    Message { name: "SessionAffinityConfig", fields: &[ignored("clientIP", "of kube-proxy")] };

pub(in crate::istio) const CLIENT_IP_CONFIG: Message =
    Message { name: "ClientIPConfig", fields: &[ignored("timeoutSeconds", "of kube-proxy")] };

pub(in crate::istio) const ENDPOINT_SLICE: Message = Message {
    name: "EndpointSlice",
    fields: &[
        enforced("apiVersion"),
        enforced("kind"),
        enforced("metadata"),
        enforced("addressType"),
        enforced("endpoints"),
        enforced("ports"),
    ],
};

pub(in crate::istio) const ENDPOINT: Message = Message {
    name: "Endpoint",
    fields: &[
        enforced("addresses"),
        enforced("conditions"),
        enforced("targetRef"),
        ignored("hostname", CLUSTER),
        ignored("nodeName", CLUSTER),
        ignored("zone", CLUSTER),
        ignored("hints", CLUSTER),
        ignored("deprecatedTopology", CLUSTER),
    ],
};

pub(in crate::istio) const ENDPOINT_CONDITIONS: Message = Message {
    name: "EndpointConditions",
    fields: &[enforced("ready"), ignored("serving", "\"ready\" says it"), ignored("terminating", "\"ready\" says it")],
};

pub(in crate::istio) const ENDPOINT_HINTS: Message =
    Message { name: "EndpointHints", fields: &[ignored("forZones", CLUSTER), ignored("forNodes", CLUSTER)] };

pub(in crate::istio) const HINT: Message = Message { name: "ForZone", fields: &[ignored("name", CLUSTER)] };

pub(in crate::istio) const OBJECT_REFERENCE: Message = Message {
    name: "ObjectReference",
    fields: &[
        enforced("kind"),
        enforced("name"),
        ignored("namespace", WRITTEN),
        ignored("uid", WRITTEN),
        ignored("apiVersion", WRITTEN),
        ignored("resourceVersion", WRITTEN),
        ignored("fieldPath", WRITTEN),
    ],
};

pub(in crate::istio) const ENDPOINT_PORT: Message = Message {
    name: "EndpointPort",
    fields: &[
        enforced("name"),
        enforced("port"),
        enforced("protocol"),
        ignored("appProtocol", "the Service's port says it"),
    ],
};

pub(in crate::istio) const ENDPOINTS: Message = Message {
    name: "Endpoints",
    fields: &[enforced("apiVersion"), enforced("kind"), enforced("metadata"), enforced("subsets")],
};

pub(in crate::istio) const ENDPOINT_SUBSET: Message = Message {
    name: "EndpointSubset",
    fields: &[enforced("addresses"), ignored("notReadyAddresses", "they get no requests"), enforced("ports")],
};

pub(in crate::istio) const ENDPOINT_ADDRESS: Message = Message {
    name: "EndpointAddress",
    fields: &[enforced("ip"), enforced("targetRef"), ignored("hostname", CLUSTER), ignored("nodeName", CLUSTER)],
};

pub(in crate::istio) const POD: Message = Message {
    name: "Pod",
    fields: &[
        enforced("apiVersion"),
        enforced("kind"),
        enforced("metadata"),
        ignored("spec", "of the kubelet"),
        enforced("status"),
    ],
};

/// The tables of Service.
pub(in crate::istio) const SERVICE_MESSAGES: &[&Message] =
    &[&SERVICE, &SERVICE_SPEC, &SERVICE_PORT, &SESSION_AFFINITY_CONFIG, &CLIENT_IP_CONFIG];

/// The tables of EndpointSlice.
pub(in crate::istio) const ENDPOINT_SLICE_MESSAGES: &[&Message] =
    &[&ENDPOINT_SLICE, &ENDPOINT, &ENDPOINT_CONDITIONS, &ENDPOINT_HINTS, &HINT, &OBJECT_REFERENCE, &ENDPOINT_PORT];

/// The tables of Endpoints.
pub(in crate::istio) const ENDPOINTS_MESSAGES: &[&Message] =
    &[&ENDPOINTS, &ENDPOINT_SUBSET, &ENDPOINT_ADDRESS, &OBJECT_REFERENCE, &ENDPOINT_PORT];

/// The tables of Pod.
pub(in crate::istio) const POD_MESSAGES: &[&Message] = &[&POD];
