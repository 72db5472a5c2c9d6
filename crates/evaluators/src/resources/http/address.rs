//! Which addresses may be reached.
//!
//! Whoever may write an AuthConfig can make this process ask any URL, so addresses that mean "this machine", "this
//! link" or "the cloud's own services" are refused: they hand out credentials to whoever asks from here. Private
//! networks are where upstreams usually are, and stay allowed.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
    sync::Arc,
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Decides about addresses.
#[derive(Debug)]
pub(super) struct AddressRules {
    allowed: Vec<Cidr>,
    allow_loopback: bool,
}

/// An address that may not be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the address {address} may not be reached: {kind}")]
pub(super) struct RefusedAddress {
    address: IpAddr,
    kind: &'static str,
}

impl AddressRules {
    pub(super) fn new(allowed: Vec<Cidr>, allow_loopback: bool) -> Self {
        Self { allowed, allow_loopback }
    }

    pub(super) fn check(&self, address: IpAddr) -> Result<(), RefusedAddress> {
        let reached = reached(address);
        let Some(kind) = refused_kind(reached) else { return Ok(()) };
        let excepted = self.allow_loopback && reached.is_loopback()
            || self.allowed.iter().any(|network| network.contains(address) || network.contains(reached));
        if excepted { Ok(()) } else { Err(RefusedAddress { address, kind }) }
    }

    /// Those addresses of a name that may be reached; at least one. An address is a name of itself.
    pub(super) async fn resolve(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let mut allowed = Vec::new();
        let mut refused = None;
        for found in tokio::net::lookup_host((name, port)).await? {
            match self.check(found.ip()) {
                Ok(()) => allowed.push(found),
                Err(error) => refused = Some(error),
            }
        }
        match refused {
            Some(error) if allowed.is_empty() => Err(io::Error::new(io::ErrorKind::PermissionDenied, error)),
            _ if allowed.is_empty() => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
            _ => Ok(allowed),
        }
    }
}

/// The IPv4 address that an IPv6 address stands for, if it does.
fn reached(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let segments = v6.segments();
    let [.., a, b] = segments;
    let v4 = match segments {
        // IPv4-mapped, RFC 4291 §2.5.5.2, and the well-known prefix of translators, RFC 6052 §2.1
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => Some((a, b)),
        // IPv4-compatible, RFC 4291 §2.5.5.1, but for `::` and `::1`
        [0, 0, 0, 0, 0, 0, ..] if (a, b) != (0, 0) && (a, b) != (0, 1) => Some((a, b)),
        // 6to4, RFC 3056 §2
        [0x2002, a, b, ..] => Some((a, b)),
        _ => None,
    };
    v4.map_or(address, |(high, low)| IpAddr::V4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))))
}

fn refused_kind(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => match v4.octets() {
            [127, ..] => Some("loopback"),
            [0, ..] => Some("unspecified"),
            // Azure, Alibaba Cloud and Oracle Cloud keep theirs outside of the link-local network.
            [168, 63, 129, 16] | [100, 100, 100, 200] | [192, 0, 0, 192] => Some("cloud metadata"),
            [169, 254, ..] => Some("link-local"),
            [224..=239, ..] => Some("multicast"),
            [240..=255, ..] => Some("reserved"),
            _ => None,
        },
        IpAddr::V6(v6) => match v6.segments() {
            _ if v6 == Ipv6Addr::LOCALHOST => Some("loopback"),
            _ if v6 == Ipv6Addr::UNSPECIFIED => Some("unspecified"),
            // AWS (instance and pod identity) and Google Cloud
            [0xfd00, 0x0ec2, ..] | [0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254] => Some("cloud metadata"),
            [0xfe80..=0xfebf, ..] => Some("link-local"),
            [0xff00..=0xffff, ..] => Some("multicast"),
            _ => None,
        },
    }
}

/// Resolves names to the addresses that may be reached.
pub(super) struct GuardedResolver(pub(super) Arc<AddressRules>);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let rules = Arc::clone(&self.0);
        Box::pin(async move {
            match rules.resolve(name.as_str(), 0).await {
                Ok(allowed) => Ok(Box::new(allowed.into_iter()) as Addrs),
                // Whoever looks for the cause does not look into errors of input and output.
                Err(error) => Err(error.downcast::<RefusedAddress>().map_or_else(Into::into, Into::into)),
            }
        })
    }
}

/// A network: an address and the number of leading bits that count, for example `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

/// The text is not a network in CIDR notation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a network such as 10.0.0.0/8 or fd00::/8")]
pub struct InvalidCidr(String);

impl Cidr {
    /// Whether an address belongs to the network.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let ignored = 32 - u32::from(self.prefix);
                (network.to_bits() ^ address.to_bits()).checked_shr(ignored).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let ignored = 128 - u32::from(self.prefix);
                (network.to_bits() ^ address.to_bits()).checked_shr(ignored).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = InvalidCidr;

    /// Reads `ADDRESS/BITS`, or a single address.
    fn from_str(text: &str) -> Result<Self, InvalidCidr> {
        let invalid = || InvalidCidr(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let network: IpAddr = address.parse().map_err(|_| invalid())?;
        let most = if network.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(most), |prefix| prefix.parse::<u8>().map_err(|_| invalid()))?;
        if prefix > most { Err(invalid()) } else { Ok(Self { network, prefix }) }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.network, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_judged_by_what_they_reach() {
        let rules = AddressRules::new(Vec::new(), false);
        let cases = [
            ("10.1.2.3", None),
            ("172.16.0.1", None),
            ("192.168.0.1", None),
            ("100.64.0.1", None),
            ("8.8.8.8", None),
            ("fd00::1", None),
            ("2001:db8::1", None),
            ("::ffff:10.0.0.1", None),
            ("127.0.0.1", Some("loopback")),
            ("127.9.9.9", Some("loopback")),
            ("::1", Some("loopback")),
            ("::ffff:127.0.0.1", Some("loopback")),
            ("::127.0.0.1", Some("loopback")),
            ("64:ff9b::7f00:1", Some("loopback")),
            ("2002:7f00:1::", Some("loopback")),
            ("0.0.0.0", Some("unspecified")),
            ("0.1.2.3", Some("unspecified")),
            ("::", Some("unspecified")),
            ("169.254.169.254", Some("link-local")),
            ("::ffff:169.254.169.254", Some("link-local")),
            ("64:ff9b::a9fe:a9fe", Some("link-local")),
            ("fe80::1", Some("link-local")),
            ("febf::1", Some("link-local")),
            ("168.63.129.16", Some("cloud metadata")),
            ("100.100.100.200", Some("cloud metadata")),
            ("192.0.0.192", Some("cloud metadata")),
            ("fd00:ec2::254", Some("cloud metadata")),
            ("fd00:ec2::23", Some("cloud metadata")),
            ("fd20:ce::254", Some("cloud metadata")),
            ("224.0.0.1", Some("multicast")),
            ("ff02::1", Some("multicast")),
            ("255.255.255.255", Some("reserved")),
        ];
        for (address, kind) in cases {
            let result = rules.check(address.parse().unwrap());
            assert_eq!(result.err().map(|refused| refused.kind), kind, "{address}");
        }
    }

    #[test]
    fn networks_and_loopback_can_be_excepted() {
        let rules = AddressRules::new(vec!["169.254.0.0/16".parse().unwrap(), "fe80::/10".parse().unwrap()], true);
        for address in ["169.254.169.254", "::ffff:169.254.1.1", "fe80::1", "127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(rules.check(address.parse().unwrap()), Ok(()), "{address}");
        }
        for address in ["0.0.0.0", "224.0.0.1", "fd00:ec2::254"] {
            assert!(rules.check(address.parse().unwrap()).is_err(), "{address}");
        }
    }

    #[test]
    fn networks_are_read_and_compared_by_their_prefix() {
        let cases = [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.9.9.9/8", "10.0.0.1", true),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "::1", false),
            ("1.2.3.4", "1.2.3.4", true),
            ("1.2.3.4", "1.2.3.5", false),
            ("::/0", "fe80::1", true),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "fe12::1", false),
        ];
        for (network, address, contained) in cases {
            let network: Cidr = network.parse().unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), contained, "{network} {address}");
        }
        for text in ["", "/8", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/-1", "10.0.0.0/8/8", "host/8"] {
            let error = text.parse::<Cidr>().unwrap_err();
            assert_eq!(error.to_string(), format!("`{text}` is not a network such as 10.0.0.0/8 or fd00::/8"));
        }
    }
}
