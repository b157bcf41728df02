//! `metadata` of every kind (Kubernetes' `ObjectMeta`): the identity of a resource.
//!
//! A slip in a field's name here moves a resource to another namespace or takes its labels away, so unknown fields are
//! errors as everywhere. Fields that Kubernetes writes by itself are accepted and have no meaning. Called for each
//! document before its kind is read, and for the `metadata` of a list.

use super::scalar::host;
use super::{Meta, UNREADABLE};
use crate::istio::reader::{Item, Message, Object, Part, enforced, ignored};

const REASON: &str = "written by Kubernetes";

const OBJECT_META: Message = Message {
    name: "ObjectMeta",
    fields: &[
        enforced("name"),
        enforced("namespace"),
        enforced("labels"),
        enforced("annotations"),
        ignored("generateName", "a resource without a name is not in the cluster yet"),
        ignored("uid", REASON),
        ignored("resourceVersion", REASON),
        ignored("generation", REASON),
        ignored("creationTimestamp", REASON),
        ignored("deletionTimestamp", REASON),
        ignored("deletionGracePeriodSeconds", REASON),
        ignored("selfLink", REASON),
        ignored("clusterName", REASON),
        ignored("ownerReferences", "which resource this one goes with"),
        ignored("finalizers", "what has to happen before it goes"),
        ignored("managedFields", REASON),
    ],
};

const OWNER_REFERENCE: Message = Message {
    name: "OwnerReference",
    fields: &[
        ignored("apiVersion", REASON),
        ignored("kind", REASON),
        ignored("name", REASON),
        ignored("uid", REASON),
        ignored("controller", REASON),
        ignored("blockOwnerDeletion", REASON),
    ],
};

const MANAGED_FIELDS_ENTRY: Message = Message {
    name: "ManagedFieldsEntry",
    fields: &[
        ignored("manager", REASON),
        ignored("operation", REASON),
        ignored("apiVersion", REASON),
        ignored("time", REASON),
        ignored("fieldsType", REASON),
        ignored("fieldsV1", REASON),
        ignored("subresource", REASON),
    ],
};

const LIST_META: Message = Message {
    name: "ListMeta",
    fields: &[
        ignored("resourceVersion", REASON),
        ignored("selfLink", REASON),
        ignored("continue", REASON),
        ignored("remainingItemCount", REASON),
    ],
};

/// The tables of this file.
pub(in crate::istio) const MESSAGES: &[&Message] = &[&OBJECT_META, &OWNER_REFERENCE, &MANAGED_FIELDS_ENTRY, &LIST_META];

/// Reads `metadata` of a document. A name or namespace that cannot be read is reported and replaced by a placeholder, so
/// that the rest of the document is checked in the same run.
pub(in crate::istio) fn read(document: &Object<'_>) -> Meta {
    let source = document.item.source().clone();
    let metadata = document.required("metadata").and_then(|item| {
        let Part { value, withheld } = item.part("resource", || item.object(&OBJECT_META));
        if withheld {
            item.leave_gap();
            // Withheld in the wrong namespace it would be served in the right one.
            if value.as_ref().is_some_and(|metadata| !metadata.has_any(&["namespace"])) {
                item.error(
                    "has no \"namespace\", so whose it is is not known",
                    "write it, or remove the unknown field",
                );
            }
        }
        value
    });
    let Some(metadata) = metadata else {
        return Meta {
            name: UNREADABLE.to_owned(),
            namespace: "default".to_owned(),
            labels: Default::default(),
            annotations: Default::default(),
            source,
        };
    };
    metadata.verify_each("ownerReferences", |item| item.object(&OWNER_REFERENCE).map(drop));
    metadata.verify_each("managedFields", |item| item.object(&MANAGED_FIELDS_ENTRY).map(drop));
    Meta {
        name: metadata.required("name").and_then(|item| name(&item)).unwrap_or_else(|| UNREADABLE.to_owned()),
        namespace: metadata.get("namespace").and_then(|item| namespace(&item)).unwrap_or_else(|| "default".to_owned()),
        labels: metadata.get("labels").map(|item| item.labels()).unwrap_or_default(),
        annotations: metadata.get("annotations").map(|item| item.string_map()).unwrap_or_default(),
        source,
    }
}

/// Checks `metadata` of a list, which may be absent.
pub(in crate::istio) fn check_list(list: &Object<'_>) {
    list.verify("metadata", |item| item.object(&LIST_META).map(drop));
}

fn name(item: &Item<'_>) -> Option<String> {
    let name = item.nonempty_string()?;
    if !host::is_resource_name(name) {
        item.error(
            format!("\"{name}\" is not a resource's name"),
            "lower-case letters, digits, \"-\" and \".\", with a letter or digit at both ends",
        );
    }
    Some(name.to_owned())
}

fn namespace(item: &Item<'_>) -> Option<String> {
    let namespace = item.nonempty_string()?;
    if !host::is_dns_label(namespace) {
        item.error(format!("\"{namespace}\" is not a namespace"), "lower-case letters, digits and \"-\"");
    }
    Some(namespace.to_owned())
}
