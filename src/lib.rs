//! ringway: a thread-per-core proxy on io_uring that reads Istio's networking YAML and enforces it itself.
//!
//! The modules are layers, and an arrow means "may use"; `tests/layering` holds them to it:
//!
//! ```text
//! base  <-  http, istio, policy, observe, io   (siblings: none uses another)
//! h1        ->  http
//! plan      ->  istio, policy, http
//! upstream  ->  plan, policy, h1, http, io, observe
//! proxy     ->  upstream and below
//! worker    ->  proxy and below
//! httpd     ->  h1, http                        (blocking sockets: the admin page, the demo's origins)
//! control   ->  httpd, istio, worker and below
//! demo      ->  httpd, plan, io
//! explain   ->  proxy and below                 (what `ringway explain` says)
//! ```
//!
//! Pure layers (`http`, `h1`, `istio`, `policy`, `plan`) take time and randomness as arguments, open no file and own no socket;
//! `io` alone names the runtime and alone may hold `unsafe`.

pub mod base;
pub mod control;
pub mod demo;
pub mod explain;
pub mod h1;
pub mod http;
pub mod httpd;
pub mod io;
pub mod istio;
pub mod observe;
pub mod plan;
pub mod policy;
pub mod proxy;
pub mod upstream;
pub mod worker;
