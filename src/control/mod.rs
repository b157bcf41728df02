//! The control side of a running proxy: it may block and allocate, and nothing on the data path waits for it.

pub mod admin;
