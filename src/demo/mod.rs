//! What `ringway demo` needs beside the proxy: origins that answer like httpbin. Nothing of the proxy uses it.

pub mod origin;
