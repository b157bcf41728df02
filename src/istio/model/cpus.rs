//! On which CPUs workers run: said by the Proxy, and by the MeshConfig in it.

/// Most CPUs that Linux can name.
pub(super) const MAX_CPUS: u32 = 8192;

/// `spec.cpus`: on which CPUs a pinned worker runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Cpus {
    /// Absent: all that the process may use.
    #[default]
    All,
    /// A number: the first so many of the allowed ones; at least 1.
    First(u32),
    /// A list: exactly these; not empty, no repeats.
    List(Vec<u32>),
}
