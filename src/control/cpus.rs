//! Which CPUs the workers are pinned to.

use core_affinity::CoreId;

use super::StartError;
use crate::plan::Cpus;

/// The CPUs that `spec.cpus` names, of those the process may use (its cpuset or affinity mask).
///
/// # Errors
/// A CPU that the process may not use, or more of them than there are.
pub(super) fn choose(wanted: &Cpus) -> Result<Vec<CoreId>, StartError> {
    let allowed = core_affinity::get_core_ids().unwrap_or_default();
    pick(wanted, &allowed)
}

fn pick(wanted: &Cpus, allowed: &[CoreId]) -> Result<Vec<CoreId>, StartError> {
    let list = || allowed.iter().map(|core| core.id.to_string()).collect::<Vec<_>>().join(", ");
    match wanted {
        Cpus::All if allowed.is_empty() => Err(StartError::Cpus("the system tells of no CPU to run on".to_owned())),
        Cpus::All => Ok(allowed.to_vec()),
        Cpus::First(n) => match allowed.get(..*n as usize) {
            Some(first) => Ok(first.to_vec()),
            None => {
                Err(StartError::Cpus(format!("cpus: {n} were asked for, and the process may use {}", allowed.len())))
            }
        },
        Cpus::List(ids) => ids
            .iter()
            .map(|id| {
                allowed.iter().find(|core| core.id == *id as usize).copied().ok_or_else(|| {
                    StartError::Cpus(format!("cpus: CPU {id} is not among those the process may use ({})", list()))
                })
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(wanted: &Cpus) -> Result<Vec<usize>, String> {
        let allowed = [0, 1, 4].map(|id| CoreId { id });
        pick(wanted, &allowed)
            .map(|cores| cores.iter().map(|core| core.id).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn takes_what_is_allowed_and_names_what_is_not() {
        assert_eq!(ids(&Cpus::All), Ok(vec![0, 1, 4]));
        assert_eq!(ids(&Cpus::First(2)), Ok(vec![0, 1]));
        assert_eq!(ids(&Cpus::List(vec![4, 0])), Ok(vec![4, 0]));
        assert_eq!(ids(&Cpus::First(4)), Err("cpus: 4 were asked for, and the process may use 3".to_owned()));
        assert_eq!(
            ids(&Cpus::List(vec![2])),
            Err("cpus: CPU 2 is not among those the process may use (0, 1, 4)".to_owned())
        );
    }
}
