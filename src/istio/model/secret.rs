//! `Secret` of Kubernetes: certificates and keys (types `kubernetes.io/tls` and `Opaque`).
//!
//! A Secret's content is decoded on use, because most Secrets in a folder are for other programs. It must never be
//! shown, not even by `Debug`.

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Formatter};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Meta;
use crate::istio::problem::Problem;
use crate::istio::reader::{Message, Object, enforced, ignored};

/// The fields of a Secret.
pub(in crate::istio) const SECRET: Message = Message {
    name: "Secret",
    fields: &[
        enforced("apiVersion"),
        enforced("kind"),
        enforced("metadata"),
        enforced("data"),
        enforced("stringData"),
        ignored("type", "what the entries are called says it"),
        ignored("immutable", "of the cluster"),
    ],
};

/// The tables of this kind.
pub(in crate::istio) const MESSAGES: &[&Message] = &[&SECRET];

/// A core/v1 Secret.
#[derive(Clone)]
pub struct KubeSecret {
    /// Name, namespace, place.
    pub meta: Meta,
    /// `data`, still in base64.
    data: BTreeMap<String, String>,
    /// `stringData`, which goes before `data`.
    string_data: BTreeMap<String, String>,
}

impl Debug for KubeSecret {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.title())
    }
}

/// Why an entry is of no use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadEntry {
    /// The problem.
    pub what: String,
}

impl KubeSecret {
    /// Its name in problems and explanations.
    #[must_use]
    pub fn title(&self) -> String {
        format!("Secret {}", self.meta.full_name())
    }

    /// The first of these entries that is written.
    #[must_use]
    pub fn first_of<'k>(&self, keys: &[&'k str]) -> Option<&'k str> {
        keys.iter().find(|key| self.string_data.contains_key(**key) || self.data.contains_key(**key)).copied()
    }

    /// The content of an entry; empty if it is absent.
    ///
    /// # Errors If it is not base64 where that is required.
    pub fn content(&self, key: &str) -> Result<Vec<u8>, BadEntry> {
        if let Some(text) = self.string_data.get(key) {
            return Ok(text.clone().into_bytes());
        }
        let mut text = self.data.get(key).cloned().unwrap_or_default();
        text.retain(|letter| !letter.is_ascii_whitespace());
        STANDARD
            .decode(text)
            .map_err(|_| BadEntry { what: "it is not base64 (write it under \"stringData\" as it is)".to_owned() })
    }

    /// An error about an entry.
    #[must_use]
    pub fn error(&self, key: &str, what: impl Into<String>) -> Problem {
        let field = if self.string_data.contains_key(key) { "stringData" } else { "data" };
        self.meta.source.error(&format!("{field}[{key}]"), what, "")
    }
}

/// Reads a Secret.
pub(in crate::istio) fn read(meta: Meta, document: &Object<'_>) -> KubeSecret {
    let entries = |name: &str| document.get(name).map(|item| item.string_map()).unwrap_or_default();
    KubeSecret { meta, data: entries("data"), string_data: entries("stringData") }
}
