//! The atomics that permits are made of. The model check puts loom's in their place.

pub(super) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
