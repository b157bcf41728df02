//! Envoy's response flags: why a request ended as it did, in two or three letters.

use std::ops::{BitOr, BitOrAssign};

/// A set of response flags.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags(u32);

/// Declares the flags; the order is the order of the log.
macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal $long:literal,)*) => {
        impl Flags {
            $($(#[$doc])* pub const $name: Flags = Flags(1 << $bit);)*

            const NAMES: &'static [(Flags, &'static str, &'static str)] =
                &[$((Flags::$name, stringify!($name), $long),)*];
        }
    };
}

// Envoy writes flags in the order in which they came up. Where two can meet that order is always this one: a delay comes
// first, and the flag for used-up retries comes before the failure of the last attempt.
flags! {
    /// A fault delayed the request.
    DI = 0 "DelayInjected",
    /// The retries, or the attempts to connect, were used up.
    URX = 1 "UpstreamRetryLimitExceeded",
    /// No healthy endpoint.
    UH = 2 "NoHealthyUpstream",
    /// The timeout of the route, or of the last attempt, passed.
    UT = 3 "UpstreamRequestTimeout",
    /// This side reset the connection.
    LR = 4 "LocalReset",
    /// The upstream reset the request.
    UR = 5 "UpstreamRemoteReset",
    /// The upstream could not be connected to.
    UF = 6 "UpstreamConnectionFailure",
    /// The upstream closed the connection.
    UC = 7 "UpstreamConnectionTermination",
    /// A circuit breaker was open.
    UO = 8 "UpstreamOverflow",
    /// No route.
    NR = 9 "NoRouteFound",
    /// A fault aborted the request.
    FI = 10 "FaultInjected",
    /// The client closed the connection.
    DC = 11 "DownstreamConnectionTermination",
    /// The request made no progress for too long.
    SI = 12 "StreamIdleTimeout",
    /// The client did not speak HTTP.
    DPE = 13 "DownstreamProtocolError",
    /// The upstream did not speak HTTP.
    UPE = 14 "UpstreamProtocolError",
    /// The route names a cluster that does not exist.
    NC = 15 "NoClusterFound",
    /// The proxy shed load.
    OM = 16 "OverloadManagerTerminated",
    /// The upstream's name could not be resolved.
    DF = 17 "DnsResolutionFailed",
    /// The connection had lasted for as long as it may.
    DT = 18 "DurationTimeout",
}

impl Flags {
    /// No flag: all went well.
    pub const NONE: Flags = Flags(0);

    /// Adds `other`'s flags.
    pub fn insert(&mut self, other: Flags) {
        self.0 |= other.0;
    }

    /// Whether all of `other`'s flags are set.
    #[must_use]
    pub fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether no flag is set.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Appends the flags as the log shows them: `DI,UT`, or `-` for none.
    pub fn write(self, out: &mut Vec<u8>) {
        self.write_names(out, |(_, short, _)| short);
    }

    /// Appends the flags by Envoy's long names: `DelayInjected,UpstreamRequestTimeout`, or `-` for none.
    pub fn write_long(self, out: &mut Vec<u8>) {
        self.write_names(out, |(_, _, long)| long);
    }

    fn write_names(self, out: &mut Vec<u8>, name: fn(&'static (Flags, &'static str, &'static str)) -> &'static str) {
        if self.is_empty() {
            out.push(b'-');
            return;
        }
        let mut comma = false;
        for name in Self::NAMES.iter().filter(|(flag, ..)| self.contains(*flag)).map(name) {
            if comma {
                out.push(b',');
            }
            out.extend_from_slice(name.as_bytes());
            comma = true;
        }
    }
}

impl BitOr for Flags {
    type Output = Flags;

    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Flags) {
        self.insert(other);
    }
}

impl std::fmt::Display for Flags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = Vec::new();
        self.write(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_in_envoys_order() {
        for (flags, text) in [
            (Flags::NONE, "-"),
            (Flags::NR, "NR"),
            (Flags::UF | Flags::URX, "URX,UF"),
            (Flags::UT | Flags::URX, "URX,UT"),
            (Flags::UC | Flags::URX, "URX,UC"),
            (Flags::FI | Flags::DI, "DI,FI"),
            (Flags::DC | Flags::DI, "DI,DC"),
            (Flags::UT | Flags::DI, "DI,UT"),
        ] {
            assert_eq!(flags.to_string(), text);
        }
    }

    #[test]
    fn a_set_holds_what_was_put_in() {
        let mut flags = Flags::NONE;
        assert!(flags.is_empty());
        flags |= Flags::UO;
        assert!(flags.contains(Flags::UO) && !flags.contains(Flags::UO | Flags::URX));
    }

    #[test]
    fn every_flag_has_its_own_bit() {
        let all = Flags::NAMES.iter().fold(0, |bits, (flag, ..)| bits | flag.0);
        assert_eq!(all.count_ones() as usize, Flags::NAMES.len());
    }
}
