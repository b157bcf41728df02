//! Destinations without configured endpoints: the addresses of a name or an original destination, requested from control
//! and cached for a while (`host_cache`), for undeclared hosts (`passthrough`) and for ServiceEntries without endpoints
//! (`forward_proxy`).

pub(crate) mod forward_proxy;
pub(crate) mod host_cache;
pub(crate) mod passthrough;
