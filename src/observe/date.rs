//! Times as text: the `date` header (RFC 9110 section 5.6.7) and the log's start time. UTC; the clock is the caller's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bytes of an IMF-fixdate.
const IMF_BYTES: usize = 29;

/// The days of the week from that of 1970-01-01; a short name is the first three letters.
pub(super) const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// The months; a short name is the first three letters.
pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The text of the `date` header, made anew only when the second changes. One a core.
#[derive(Debug, Clone)]
pub struct DateCache {
    second: u64,
    text: [u8; IMF_BYTES],
}

impl Default for DateCache {
    fn default() -> Self {
        Self { second: 0, text: imf_fixdate(0) }
    }
}

impl DateCache {
    /// `now` as an IMF-fixdate: `Tue, 22 Dec 2020 06:32:22 GMT`.
    pub fn at(&mut self, now: SystemTime) -> &[u8; IMF_BYTES] {
        let second = since_epoch(now).as_secs();
        if second != self.second {
            self.second = second;
            self.text = imf_fixdate(second);
        }
        &self.text
    }

    /// The text of the last refresh.
    #[must_use]
    pub fn text(&self) -> &[u8; IMF_BYTES] {
        &self.text
    }
}

/// Appends `time` as Envoy's `%START_TIME%`: `2020-12-22T06:32:22.057Z`.
pub fn write_start_time(out: &mut Vec<u8>, time: SystemTime) {
    let since = since_epoch(time);
    let civil = Civil::of(since.as_secs());
    let mut text = *b"0000-00-00T00:00:00.000Z";
    digits(&mut text[0..4], civil.year);
    digits(&mut text[5..7], civil.month);
    digits(&mut text[8..10], civil.day);
    digits(&mut text[11..13], civil.hour);
    digits(&mut text[14..16], civil.minute);
    digits(&mut text[17..19], civil.second);
    digits(&mut text[20..23], u64::from(since.subsec_millis()));
    out.extend_from_slice(&text);
}

fn imf_fixdate(second: u64) -> [u8; IMF_BYTES] {
    let civil = Civil::of(second);
    let mut text = *b"Thu, 00 Jan 0000 00:00:00 GMT";
    text[0..3].copy_from_slice(&DAYS[(second / 86_400 % 7) as usize].as_bytes()[..3]);
    digits(&mut text[5..7], civil.day);
    text[8..11].copy_from_slice(&MONTHS[(civil.month - 1) as usize].as_bytes()[..3]);
    digits(&mut text[12..16], civil.year);
    digits(&mut text[17..19], civil.hour);
    digits(&mut text[20..22], civil.minute);
    digits(&mut text[23..25], civil.second);
    text
}

/// A time before 1970 counts as 1970: a clock that wrong is not worth an error on the data path.
pub(super) fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A date and time of the Gregorian calendar.
pub(super) struct Civil {
    pub(super) year: u64,
    /// From 1.
    pub(super) month: u64,
    /// From 1.
    pub(super) day: u64,
    pub(super) hour: u64,
    pub(super) minute: u64,
    pub(super) second: u64,
}

impl Civil {
    /// The Gregorian date and time of a second since 1970, by Howard Hinnant's `civil_from_days`: years begin in March,
    /// so that the leap day is the last, and 400 of them have a fixed number of days.
    pub(super) fn of(second: u64) -> Self {
        const DAYS_FROM_MARCH_0000: u64 = 719_468;
        const DAYS_OF_400_YEARS: u64 = 146_097;
        let days = second / 86_400 + DAYS_FROM_MARCH_0000;
        let (era, day_of_era) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        Self {
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * month_from_march + 2) / 5 + 1,
            hour: second / 3600 % 24,
            minute: second / 60 % 60,
            second: second % 60,
        }
    }

    /// The day of the year, from 1.
    pub(super) fn day_of_year(&self) -> u64 {
        const BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        let year = self.year;
        let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        BEFORE[(self.month - 1) as usize] + self.day + u64::from(leap && self.month > 2)
    }
}

/// Fills `out` with the decimal digits of `value`, leading zeros included, higher digits cut off.
fn digits(out: &mut [u8], mut value: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(millis)
    }

    fn start_time(millis: u64) -> String {
        let mut out = Vec::new();
        write_start_time(&mut out, at(millis));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_tutorials_moment() {
        assert_eq!(start_time(1_608_618_742_057), "2020-12-22T06:32:22.057Z");
        assert_eq!(DateCache::default().at(at(1_608_618_742_057)), b"Tue, 22 Dec 2020 06:32:22 GMT");
    }

    #[test]
    fn edges_of_the_calendar() {
        for (second, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
            (1_767_225_599, "2025-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(start_time(second * 1000), text);
        }
    }

    #[test]
    fn a_clock_before_1970_is_no_panic() {
        let mut out = Vec::new();
        write_start_time(&mut out, UNIX_EPOCH - Duration::from_secs(1));
        assert_eq!(out, b"1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn the_cache_follows_the_clock() {
        let mut cache = DateCache::default();
        assert_eq!(cache.at(at(784_111_777_000)), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(cache.at(at(784_111_777_999)), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(cache.at(at(784_111_778_000)), b"Sun, 06 Nov 1994 08:49:38 GMT");
        assert_eq!(cache.text(), b"Sun, 06 Nov 1994 08:49:38 GMT");
    }

    proptest! {
        #[test]
        fn agrees_with_httpdate(second in 0_u64..253_402_300_800) {
            let expected = httpdate::fmt_http_date(at(second * 1000));
            prop_assert_eq!(&imf_fixdate(second)[..], expected.as_bytes());
        }
    }
}
