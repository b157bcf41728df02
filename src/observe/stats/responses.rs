//! Responses by their status, under Envoy's names: all of them, by class, by code.

use super::cell::Counter;

/// The codes with a counter each are 100 to 599, as in Envoy; others count as unknown.
const FIRST_CODE: u16 = 100;
const CODES: usize = 500;

/// How often each status was met.
#[derive(Debug)]
pub(super) struct Responses {
    completed: Counter,
    classes: [Counter; 5],
    codes: [Counter; CODES],
    unknown: Counter,
}

impl Default for Responses {
    fn default() -> Self {
        Self {
            completed: Counter::default(),
            classes: Default::default(),
            codes: std::array::from_fn(|_| Counter::default()),
            unknown: Counter::default(),
        }
    }
}

impl Responses {
    /// Counts a response.
    pub(super) fn count(&self, status: u16) {
        self.completed.inc();
        let code = status.checked_sub(FIRST_CODE).map(usize::from).and_then(|index| {
            let class = self.classes.get(index / 100)?;
            Some((class, self.codes.get(index)?))
        });
        match code {
            Some((class, code)) => {
                class.inc();
                code.inc();
            }
            None => self.unknown.inc(),
        }
    }

    /// Calls `see` with the counters that anything was counted in; `upstream_rq_completed` is always among them.
    pub(super) fn each<'a>(&'a self, mut see: impl FnMut(&str, &'a Counter)) {
        see("upstream_rq_completed", &self.completed);
        for (class, counter) in self.classes.iter().enumerate().filter(|(_, counter)| counter.get() > 0) {
            see(&format!("upstream_rq_{}xx", class + 1), counter);
        }
        for (index, counter) in self.codes.iter().enumerate().filter(|(_, counter)| counter.get() > 0) {
            see(&format!("upstream_rq_{}", usize::from(FIRST_CODE) + index), counter);
        }
        if self.unknown.get() > 0 {
            see("upstream_rq_unknown", &self.unknown);
        }
    }
}
