//! The policies without the proxy around them: every order of events that loom finds between two cores, and random orders
//! of steps between many.

mod loom_permits;
mod simulation;
