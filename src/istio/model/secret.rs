//! `Secret` of Kubernetes: certificates and keys (types `kubernetes.io/tls` and `Opaque`).
//!
//! What a Secret holds is decoded when something uses it, because most of those in a folder are for others. Nothing of
//! it is ever shown, also not by `Debug`.

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
    /// What is wrong.
    pub what: String,
}

impl KubeSecret {
    /// What it is called in problems and explanations.
    #[must_use]
    pub fn title(&self) -> String {
        format!("Secret {}", self.meta.full_name())
    }

    /// The first of these entries that is written.
    #[must_use]
    pub fn first_of<'k>(&self, keys: &[&'k str]) -> Option<&'k str> {
        keys.iter().find(|key| self.string_data.contains_key(**key) || self.data.contains_key(**key)).copied()
    }

    /// What an entry holds; nothing if it is not there.
    ///
    /// # Errors
    /// If it is not base64, where it has to be.
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
