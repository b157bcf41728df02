//! Destinations that no document lists endpoints for: where a name or an original address leads, asked of control and kept
//! for a while (`host_cache`), for undeclared hosts (`passthrough`) and for ServiceEntries without endpoints
//! (`forward_proxy`).

pub(crate) mod forward_proxy;
pub(crate) mod host_cache;
pub(crate) mod passthrough;
