//! Ranges of IP addresses: `10.0.0.0/8`, or a single address.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A range of addresses of one family. IPv4 addresses inside IPv6 (`::ffff:10.0.0.1`) are IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subnet {
    /// The first address of the range.
    first: IpAddr,
    bits: u8,
}

/// It is neither an address nor a range of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an address or a subnet")]
pub struct BadSubnet;

impl FromStr for Subnet {
    type Err = BadSubnet;

    fn from_str(text: &str) -> Result<Self, BadSubnet> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| BadSubnet)?;
        let most = width(address);
        let bits = match bits {
            None => most,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok().filter(|bits| *bits <= most).ok_or(BadSubnet)?
            }
            Some(_) => return Err(BadSubnet),
        };
        // In an IPv4-mapped address the prefix is counted after the 96 bits of the mapping.
        let canonical = address.to_canonical();
        let bits = match (most, width(canonical)) {
            (128, 32) => match bits.checked_sub(96) {
                Some(bits) => bits,
                None => return Ok(Self { first: masked(address, bits), bits }),
            },
            _ => bits,
        };
        Ok(Self { first: masked(canonical, bits), bits })
    }
}

impl Subnet {
    /// Whether the address is in the range.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        width(address) == width(self.first) && masked(address, self.bits) == self.first
    }

    /// The length of the prefix: more bits are fewer addresses.
    #[must_use]
    pub fn bits(self) -> u8 {
        self.bits
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or_default();
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or_default();
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (subnet, address, inside) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.1.2.3/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("10.0.0.1/32", "10.0.0.1", true),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "1.2.3.4", false),
            ("::/0", "fd00::1", true),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe00::1", false),
            ("10.0.0.0/8", "::ffff:10.1.1.1", true),
            ("::ffff:10.0.0.0/104", "10.1.1.1", true),
        ] {
            let subnet: Subnet = subnet.parse().expect("a subnet");
            assert_eq!(subnet.contains(address.parse().expect("an address")), inside, "{subnet} {address}");
        }
    }

    #[test]
    fn what_is_none() {
        for text in ["", "a", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "10.0.0/8", "::/129", "10.0.0.0/8/8", "*"] {
            assert_eq!(text.parse::<Subnet>(), Err(BadSubnet), "{text}");
        }
    }

    #[test]
    fn it_is_written_as_a_range() {
        for (text, shown) in [("10.1.2.3/8", "10.0.0.0/8"), ("10.1.2.3", "10.1.2.3/32"), ("fd00::1/16", "fd00::/16")] {
            assert_eq!(text.parse::<Subnet>().expect("a subnet").to_string(), shown);
        }
    }
}
