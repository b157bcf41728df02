//! The files and Secrets that `tls` of DestinationRules names: read, and put into the model.
//!
//! Files are read by the [`NamedFiles`] that the caller hands in. Errors are reported at the field that names the file,
//! or in the Secret itself; never with any of the content.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;

use super::model::Model;
use super::model::credential::{Authorities, BadAuthorities, BadIdentity, Identity, Trust};
use super::model::destination_rule::{ClientTls, Credentials, DestinationRule, Origination, TrafficPolicy};
use super::model::secret::{BadEntry, KubeSecret};
use super::problem::{Problem, Source};

/// The value of `caCertificates` for the host's own authorities, also its default.
const SYSTEM: &str = "system";

/// The files that documents name, and the host's own authorities.
pub trait NamedFiles {
    /// The content of the file at this path.
    ///
    /// # Errors Why it cannot be read, as text for people.
    fn read(&mut self, path: &Path) -> Result<Arc<[u8]>, String>;

    /// The certificates of the authorities that the host trusts. Unreadable ones are left out as long as some can be
    /// read. `None`: there is no host, so missing authorities are not an error.
    fn host_authorities(&mut self) -> Option<Vec<CertificateDer<'static>>>;
}

/// Gives every rule of the model the credentials that its `tls` names, and reports errors.
pub(super) fn resolve(model: &mut Model, named: &mut dyn NamedFiles, problems: &mut Vec<Problem>) {
    let proxy_namespace = model.proxy.as_ref().map_or("default", |proxy| proxy.namespace.as_str()).to_owned();
    let secrets = model.secrets.iter().map(|secret| ((&*secret.meta.namespace, &*secret.meta.name), secret)).collect();
    let mut finder = Finder { secrets, used: HashSet::new(), proxy_namespace, named, host: None, problems };
    for rule in &mut model.destination_rules {
        let DestinationRule { meta, traffic_policy, subsets, .. } = rule;
        let policies = std::iter::once(traffic_policy).chain(subsets.iter_mut().map(|each| &mut each.traffic_policy));
        for tls in policies.flat_map(originations) {
            tls.credentials = finder.credentials(&meta.source, &meta.namespace, tls).map(Arc::new);
        }
    }
    let used = finder.used;
    for secret in &model.secrets {
        if !used.contains(&(&*secret.meta.namespace, &*secret.meta.name)) {
            problems.push(secret.meta.source.warning("", "Secret is not used by anything here", ""));
        }
    }
}

/// The `tls` of a policy and of its ports.
fn originations(policy: &mut TrafficPolicy) -> impl Iterator<Item = &mut Origination> {
    let ports = policy.ports.iter_mut().filter_map(|port| port.tls.as_mut());
    policy.tls.iter_mut().chain(ports).filter_map(|tls| match tls {
        ClientTls::Originated(tls) => Some(&mut **tls),
        ClientTls::Disabled => None,
    })
}

struct Finder<'m, 'p> {
    /// By namespace and name.
    secrets: HashMap<(&'m str, &'m str), &'m KubeSecret>,
    /// The Secrets that a rule names.
    used: HashSet<(&'m str, &'m str)>,
    proxy_namespace: String,
    named: &'p mut dyn NamedFiles,
    /// The host's own authorities, once they are needed.
    host: Option<HostAuthorities>,
    problems: &'p mut Vec<Problem>,
}

/// The host's own authorities, and whether it lacks them.
type HostAuthorities = (Arc<Authorities>, bool);

/// A rule's `tls`, for complaints.
struct At<'a> {
    source: &'a Source,
    tls: &'a Origination,
}

impl At<'_> {
    fn error(&self, field: &str, what: impl Into<String>, instead: impl Into<String>) -> Problem {
        self.source.error(&format!("{}.{field}", self.tls.path), what, instead)
    }
}

impl<'m> Finder<'m, '_> {
    /// `None`: an error was reported.
    fn credentials(&mut self, source: &Source, namespace: &str, tls: &Origination) -> Option<Credentials> {
        let at = At { source, tls };
        match &tls.sources.credential_name {
            Some(name) => self.of_secret(&at, namespace, name),
            None => self.of_files(&at),
        }
    }

    fn of_files(&mut self, at: &At<'_>) -> Option<Credentials> {
        let sources = &at.tls.sources;
        let identity = match (&sources.client_certificate, &sources.private_key) {
            (Some(chain), Some(key)) if at.tls.mutual => {
                // Both, so that one run tells of both.
                let (chain_text, key_text) =
                    (self.file(at, "clientCertificate", chain), self.file(at, "privateKey", key));
                let identity = Identity::of_pem(chain.clone(), &chain_text?, &key_text?);
                Some(identity.map_err(|bad| self.bad_identity(at, (chain, key), bad)).ok()?)
            }
            _ => None,
        };
        if at.tls.skips_verification {
            return Some(Credentials { trust: Trust::Anyone, identity });
        }
        let revocations = match &sources.ca_crl {
            Some(path) => Some(self.file(at, "caCrl", path)?),
            None => None,
        };
        let authorities = match sources.ca_certificates.as_deref().filter(|path| *path != SYSTEM) {
            Some(path) => {
                let text = self.file(at, "caCertificates", path)?;
                Authorities::of_pem(path.to_owned(), &text, revocations.as_deref()).map(Arc::new)
            }
            None => {
                let host = self.host(at);
                match &revocations {
                    Some(text) => host.with_revocations(text).map(Arc::new),
                    None => Ok(host),
                }
            }
        };
        match authorities {
            Ok(authorities) => Some(Credentials { trust: Trust::Authorities(authorities), identity }),
            Err(bad) => {
                let (field, path, what) = match bad {
                    BadAuthorities::Certificates(what) => ("caCertificates", &sources.ca_certificates, what),
                    BadAuthorities::Revocations(what) => ("caCrl", &sources.ca_crl, what),
                };
                let path = path.as_deref().unwrap_or_default();
                self.problems.push(at.error(field, format!("file \"{path}\": {what}"), ""));
                None
            }
        }
    }

    fn bad_identity(&mut self, at: &At<'_>, (chain, key): (&str, &str), bad: BadIdentity) {
        let (field, path, what) = match bad {
            BadIdentity::Certificate(what) => ("clientCertificate", chain, what),
            BadIdentity::Key(what) => ("privateKey", key, what),
        };
        self.problems.push(at.error(field, format!("file \"{path}\": {what}"), ""));
    }

    /// The host's own authorities.
    fn host(&mut self, at: &At<'_>) -> Arc<Authorities> {
        let named = &mut self.named;
        let (host, lacks_all) = self.host.get_or_insert_with(|| {
            let certificates = named.host_authorities();
            let host = Authorities::of_host(certificates.clone().unwrap_or_default());
            let lacks_all = certificates.is_some() && host.is_empty();
            (Arc::new(host), lacks_all)
        });
        let (host, lacks_all) = (Arc::clone(host), *lacks_all);
        if lacks_all {
            let what = "this host has no CA certificates, so every server will be refused";
            let instead = "install them (package ca-certificates), or write caCertificates";
            self.problems.push(at.source.warning(&at.tls.path, what, instead));
        }
        host
    }

    /// A file's content. A relative name is relative to the document's folder.
    fn file(&mut self, at: &At<'_>, field: &str, name: &str) -> Option<Arc<[u8]>> {
        let path = Path::new(&*at.source.file).parent().unwrap_or(Path::new("")).join(name);
        match self.named.read(&path) {
            Ok(content) => Some(content),
            Err(why) => {
                let problem = at.error(field, format!("file \"{name}\": {why}"), "");
                self.problems.push(problem);
                None
            }
        }
    }

    /// The Secret of this name: of the proxy's namespace, where Istio looks, else of the rule's own.
    fn secret(&self, namespace: &str, name: &str) -> Option<&'m KubeSecret> {
        let in_namespace = |namespace: &str| self.secrets.get(&(namespace, name)).copied();
        in_namespace(&self.proxy_namespace).or_else(|| in_namespace(namespace))
    }

    fn note_used(&mut self, secret: &'m KubeSecret) {
        self.used.insert((&secret.meta.namespace, &secret.meta.name));
    }

    fn of_secret(&mut self, at: &At<'_>, namespace: &str, name: &str) -> Option<Credentials> {
        let own = self.secret(namespace, name);
        // A key and the authorities may be apart.
        let authorities = self.secret(namespace, &format!("{name}-cacert")).or(own);
        let needs_own = at.tls.mutual;
        let Some(found) = own.or(authorities).filter(|_| own.is_some() || !needs_own) else {
            let what = format!("there is no Secret \"{name}\"");
            let instead = format!("write one, in namespace {}", self.proxy_namespace);
            self.problems.push(at.error("credentialName", what, instead));
            return None;
        };
        self.note_used(found);
        let identity = match own.filter(|_| needs_own) {
            Some(secret) => Some(self.identity(at, secret)?),
            None => None,
        };
        if at.tls.skips_verification {
            return Some(Credentials { trust: Trust::Anyone, identity });
        }
        let secret = authorities.unwrap_or(found);
        self.note_used(secret);
        let trust = Trust::Authorities(Arc::new(self.authorities(at, secret)?));
        Some(Credentials { trust, identity })
    }

    fn identity(&mut self, at: &At<'_>, secret: &KubeSecret) -> Option<Identity> {
        let (chain, chain_key) = self.entry(at, secret, &["tls.crt", "cert"])?;
        let (key, key_key) = self.entry(at, secret, &["tls.key", "key"])?;
        match Identity::of_pem(secret.title(), &chain, &key) {
            Ok(identity) => Some(identity),
            Err(bad) => {
                let (entry, what) = match bad {
                    BadIdentity::Certificate(what) => (chain_key, what),
                    BadIdentity::Key(what) => (key_key, what),
                };
                self.problems.push(secret.error(entry, what));
                None
            }
        }
    }

    fn authorities(&mut self, at: &At<'_>, secret: &KubeSecret) -> Option<Authorities> {
        let (certificates, key) = self.entry(at, secret, &["ca.crt", "cacert"])?;
        let (list, list_key) = match secret.first_of(&["ca.crl", "crl"]) {
            Some(key) => {
                let (list, key) = self.entry(at, secret, &[key])?;
                (Some(list), key)
            }
            None => (None, ""),
        };
        match Authorities::of_pem(secret.title(), &certificates, list.as_deref()) {
            Ok(authorities) => Some(authorities),
            Err(bad) => {
                let (entry, what) = match bad {
                    BadAuthorities::Certificates(what) => (key, what),
                    BadAuthorities::Revocations(what) => (list_key, what),
                };
                self.problems.push(secret.error(entry, what));
                None
            }
        }
    }

    /// The first of these entries that the Secret has, and its name.
    fn entry<'k>(&mut self, at: &At<'_>, secret: &KubeSecret, keys: &[&'k str]) -> Option<(Vec<u8>, &'k str)> {
        let Some(key) = secret.first_of(keys) else {
            let what = format!("{} has no \"{}\"", secret.title(), keys.join("\" and no \""));
            self.problems.push(at.error("credentialName", what, "add it to the Secret's data"));
            return None;
        };
        match secret.content(key) {
            Ok(content) => Some((content, key)),
            Err(BadEntry { what }) => {
                self.problems.push(secret.error(key, what));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
