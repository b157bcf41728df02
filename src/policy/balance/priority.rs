//! How much of the requests each priority gets, by the health of all of them: Envoy's
//! `LoadBalancerBase::recalculatePerPriorityState`.

/// Envoy's overprovisioning factor, in percent: a level takes everything until less than 1 / 1.4 of it is healthy.
const OVERPROVISIONING: u64 = 140;

/// For each level the number up to which a draw from 1 to 100 falls on it or a level before it, from how many of its
/// endpoints are healthy, and how many there are. With nothing healthy anywhere, the first level gets everything.
pub(super) fn bounds(levels: impl Iterator<Item = (usize, usize)> + Clone) -> Box<[u8]> {
    let health =
        levels.map(|(healthy, all)| (OVERPROVISIONING * healthy as u64).checked_div(all as u64).unwrap_or(0).min(100));
    let total = health.clone().sum::<u64>().min(100);
    let first = health.clone().position(|health| health > 0).unwrap_or(0);
    let loads = health.clone().scan(100, |left, health| {
        let load = (health * 100).checked_div(total).unwrap_or(0).min(*left);
        *left -= load;
        Some(load)
    });
    // What rounding leaves goes to the first level that can take it.
    let rest = 100 - loads.clone().sum::<u64>();
    let mut sum = 0;
    loads
        .enumerate()
        .map(|(at, load)| {
            sum += load + if at == first { rest } else { 0 };
            sum as u8
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::bounds;

    #[test]
    fn lower_levels_get_what_the_upper_ones_cannot_take() {
        for (levels, expected) in [
            (&[(5, 5)][..], &[100][..]),
            (&[(5, 5), (5, 5)], &[100, 100]),
            // Envoy's table in the documentation of priority levels, for two levels of 100.
            (&[(72, 100), (100, 100)], &[100, 100]),
            (&[(71, 100), (100, 100)], &[99, 100]),
            (&[(50, 100), (100, 100)], &[70, 100]),
            (&[(25, 100), (100, 100)], &[35, 100]),
            (&[(0, 100), (100, 100)], &[0, 100]),
            // Less than enough in all: each by its part of what there is.
            (&[(25, 100), (25, 100)], &[50, 100]),
            (&[(50, 100), (10, 100), (5, 100)], &[78, 93, 100]),
            (&[(0, 3), (0, 3)], &[100, 100]),
            (&[(0, 0), (1, 1)], &[0, 100]),
        ] {
            assert_eq!(&*bounds(levels.iter().copied()), expected, "{levels:?}");
        }
    }
}
