//! The addresses that a granted destination may lead to.
//!
//! Threat: a granted name whose owner resolves it to this machine, to a cloud's metadata service or to the API server.
//! The grant would then open what its author never meant. So the addresses are checked after the look-up, by [`fault`]
//! alone, and the connection goes to the very address that was checked.
//!
//! An address that the grant itself spells out is meant by its author, loopback included. Only two kinds stay refused:
//! the API server's configured address, and those that are not the address of one host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The addresses that are no destinations, as this host knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// The pod's own addresses. Its other containers listen there.
    pub(super) own: Vec<IpAddr>,
    /// The addresses of the API server's names, and those at which this host is connected to it.
    pub(super) server: Vec<IpAddr>,
    /// The configured addresses of the API server.
    pub(super) configured: Vec<SocketAddr>,
}

/// Metadata and credential services over IPv4 that are not link-local: Azure's WireServer, Alibaba's, Oracle's older
/// one, Volcano Engine's, UCloud's. The address that most clouds share is here too, because IPv6 addresses may contain
/// it.
const METADATA_V4: [Ipv4Addr; 6] = [
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
    Ipv4Addr::new(100, 96, 0, 96),
    Ipv4Addr::new(100, 80, 80, 80),
    Ipv4Addr::new(169, 254, 169, 254),
];

/// Metadata services over IPv6: Google's, Oracle's, Scaleway's, Akamai's, Alibaba's. OpenStack's is link-local.
const METADATA_V6: [Ipv6Addr; 5] = [
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe),
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),
    Ipv6Addr::new(0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0xfd00, 0x100, 0, 0, 0, 0, 0x100, 0x200),
];

/// The first two segments of the block that Amazon reserves for services on a machine: metadata, EKS Pod Identity, DNS.
const AMAZON: [u16; 2] = [0xfd00, 0xec2];

/// The positions of an IPv4 address inside an IPv6 one, byte by byte, for the prefixes of 32, 40, 48, 56, 64 and 96
/// bits that translators use (RFC 6052 section 2.2). Byte 8 is always left out.
const TRANSLATED: [[usize; 4]; 6] =
    [[4, 5, 6, 7], [5, 6, 7, 9], [6, 7, 9, 10], [7, 9, 10, 11], [9, 10, 11, 12], [12, 13, 14, 15]];

/// Returns the reason against connecting to `address`; `None` when there is none. `granted` is the address that the
/// grant itself spells out, if any.
pub(super) fn fault(address: SocketAddr, granted: Option<IpAddr>, known: &Known) -> Option<&'static str> {
    let readings = Readings::of(address.ip());
    if let Some(fault) = readings.certain.iter().find_map(|reading| fault_of_any(*reading)) {
        return Some(fault);
    }
    if granted == Some(address.ip()) {
        let is_server = |reading: &IpAddr| known.configured.contains(&SocketAddr::new(*reading, address.port()));
        return readings.certain.iter().any(is_server).then_some(API_SERVER);
    }
    let all = || readings.certain.iter().chain(&readings.perhaps).copied();
    let fault = |reading| fault_of_named(reading).or_else(|| known.fault(reading));
    let translated = || readings.in_any_network.iter().copied();
    let fixed = |reading| if is_metadata(reading) { Some(METADATA) } else { known.fault(reading) };
    all().find_map(fault).or_else(|| translated().find_map(fixed))
}

const API_SERVER: &str = "the API server, which is called by its own names";
const METADATA: &str = "a metadata service";

impl Known {
    /// Returns the reason that this host has against an address.
    fn fault(&self, address: IpAddr) -> Option<&'static str> {
        if self.server.contains(&address) || self.configured.iter().any(|server| server.ip() == address) {
            return Some(API_SERVER);
        }
        self.own.contains(&address).then_some("this pod itself")
    }
}

/// Returns the reason against an address that is no destination, even for a grant that names it.
fn fault_of_any(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) if address.octets()[0] == 0 => Some("the unspecified address"),
        IpAddr::V4(address) if address.is_broadcast() || address.octets()[0] >= 240 => Some("a reserved address"),
        address if address.is_unspecified() => Some("the unspecified address"),
        address if address.is_multicast() => Some("a multicast address"),
        _ => None,
    }
}

/// Returns the reason against an address to which no name may lead.
fn fault_of_named(address: IpAddr) -> Option<&'static str> {
    match address {
        address if address.is_loopback() => Some("this machine (loopback)"),
        address if is_metadata(address) => Some(METADATA),
        address if is_link_local(address) => Some("a link-local address"),
        _ => None,
    }
}

fn is_metadata(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => METADATA_V4.contains(&address),
        IpAddr::V6(address) => METADATA_V6.contains(&address) || address.segments().starts_with(&AMAZON),
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        // Site-local addresses (RFC 3879) are no longer assigned, and were as local.
        IpAddr::V6(address) => address.is_unicast_link_local() || address.segments()[0] & 0xffc0 == 0xfec0,
    }
}

/// The addresses that one address may become on its way.
struct Readings {
    /// The address itself, and those inside it in a form with one reading.
    certain: Vec<IpAddr>,
    /// The addresses inside it, if its network is divided so.
    perhaps: Vec<IpAddr>,
    /// The result of a translator whose prefix only its own network knows. Any address has these by chance, so only
    /// single addresses are compared with them.
    in_any_network: Vec<IpAddr>,
}

impl Readings {
    fn of(address: IpAddr) -> Self {
        let IpAddr::V6(wide) = address else {
            return Self { certain: vec![address], perhaps: Vec::new(), in_any_network: Vec::new() };
        };
        let mut certain = vec![address];
        certain.extend(embedded(wide));
        let in_any_network: Vec<_> = TRANSLATED.iter().map(|places| at(wide, *places)).collect();
        let mut perhaps = tunnelled(wide);
        // RFC 8215 leaves this block to each network for translators of its own.
        if wide.segments().starts_with(&[0x64, 0xff9b, 1]) {
            perhaps.extend(&in_any_network);
        }
        Self { certain, perhaps, in_any_network }
    }
}

/// Returns the four bytes of an IPv6 address at these positions.
fn at(address: Ipv6Addr, places: [usize; 4]) -> IpAddr {
    let octets = address.octets();
    IpAddr::from(places.map(|place| octets.get(place).copied().unwrap_or_default()))
}

/// Returns the IPv4 address inside an IPv6 one of a fixed form: mapped (`::ffff:0:0/96`), translated
/// (`::ffff:0:0:0/96`, RFC 2765), compatible (`::/96`), of the well-known prefix of translators (`64:ff9b::/96`), and
/// 6to4 (`2002::/16`).
fn embedded(address: Ipv6Addr) -> Option<IpAddr> {
    const LAST: [usize; 4] = [12, 13, 14, 15];
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
            Some(at(address, LAST))
        }
        // `::` and `::1` belong to IPv6.
        [0, 0, 0, 0, 0, 0, high, _] if high != 0 => Some(at(address, LAST)),
        [0x2002, ..] => Some(at(address, [2, 3, 4, 5])),
        _ => None,
    }
}

/// Returns the IPv4 addresses inside an IPv6 one of a tunnel: Teredo's server and client (`2001::/32`, RFC 4380, with
/// the client's bits inverted) and ISATAP (RFC 5214).
fn tunnelled(address: Ipv6Addr) -> Vec<IpAddr> {
    let octets = address.octets();
    match address.segments() {
        [0x2001, 0, ..] => {
            let client =
                Ipv4Addr::from([12, 13, 14, 15].map(|place: usize| !octets.get(place).copied().unwrap_or_default()));
            vec![at(address, [4, 5, 6, 7]), client.into()]
        }
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] => vec![at(address, [12, 13, 14, 15])],
        _ => Vec::new(),
    }
}

/// Returns an address in the one form in which addresses are compared.
pub(super) fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(wide) => embedded(wide).unwrap_or(address),
        IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A pod with two addresses, before an API server that is found at one and has another.
    fn known() -> Known {
        Known {
            own: vec!["10.1.2.3".parse().unwrap(), "2001:db8:1::3".parse().unwrap()],
            server: vec!["10.96.0.1".parse().unwrap(), "2001:db8:96::1".parse().unwrap()],
            configured: vec!["192.0.2.7:6443".parse().unwrap()],
        }
    }

    fn named(address: &str) -> Option<&'static str> {
        fault(SocketAddr::new(address.parse().unwrap(), 443), None, &known())
    }

    fn granted(address: &str, port: u16) -> Option<&'static str> {
        let address = address.parse().unwrap();
        fault(SocketAddr::new(address, port), Some(address), &known())
    }

    /// Every form of an IPv6 address that stands for an IPv4 one.
    fn forms(address: Ipv4Addr) -> Vec<Ipv6Addr> {
        let [a, b, c, d] = address.octets();
        let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let mut forms = vec![
            Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low),
            Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
            Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low),
            Ipv6Addr::new(0x64, 0xff9b, 1, 0xfffe, 0, 0, high, low),
            Ipv6Addr::new(0x64, 0xff9b, 1, 0xabcd, 0x1234, 0x5678, high, low),
            Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            Ipv6Addr::new(0x2001, 0, high, low, 0, 0, 0x1234, 0x5678),
            Ipv6Addr::new(0x2001, 0, 0x0808, 0x0808, 0x8000, 0x1234, !high, !low),
            Ipv6Addr::new(0xfd12, 0x3456, 0, 1, 0, 0x5efe, high, low),
            Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0x200, 0x5efe, high, low),
        ];
        for places in TRANSLATED.iter().skip(2) {
            let mut octets = Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0).octets();
            for (place, byte) in places.iter().zip(address.octets()) {
                octets[*place] = byte;
            }
            forms.push(octets.into());
        }
        forms
    }

    #[test]
    fn a_name_cannot_lead_to_this_machine_or_its_metadata() {
        for address in [
            "127.0.0.1",
            "127.9.8.7",
            "::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::7f00:1",
            "64:ff9b:1:fffe::7f00:1",
            "::ffff:0:7f00:1",
            "2002:7f00:1::",
            "169.254.169.254",
            "169.254.170.2",
            "169.254.170.23",
            "169.254.0.23",
            "169.254.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "fe80::1",
            "fe80::a9fe:a9fe",
            "fec0::1",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd00:ec2:0:1::1",
            "fd20:ce::254",
            "fd00:c1::a9fe:a9fe",
            "fd00:42::42",
            "fd00:a9fe:a9fe::1",
            "fd00:100::100:200",
            "168.63.129.16",
            "100.100.100.200",
            "100.96.0.96",
            "100.80.80.80",
            "192.0.0.192",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "::ffff:0.0.0.0",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "240.0.0.1",
        ] {
            assert!(named(address).is_some(), "{address}");
        }
    }

    #[test]
    fn no_form_of_a_refused_address_is_let_through() {
        let refused = ["127.0.0.1", "169.254.169.254", "169.254.170.23", "168.63.129.16", "100.100.100.200"];
        let known = ["10.1.2.3", "10.96.0.1", "192.0.2.7"];
        for address in refused.into_iter().chain(known) {
            assert!(named(address).is_some(), "{address}");
            for form in forms(address.parse().unwrap()) {
                assert!(named(&form.to_string()).is_some(), "{address} as {form}");
            }
        }
        for form in forms(Ipv4Addr::new(93, 184, 215, 14)) {
            assert_eq!(named(&form.to_string()), None, "{form}");
        }
    }

    #[test]
    fn a_translator_of_any_prefix_leads_to_no_metadata_and_not_home() {
        let prefix = Ipv6Addr::new(0x2001, 0xdb8, 0x1122, 0x3344, 0, 0, 0, 0);
        for address in [[169, 254, 169, 254], [168, 63, 129, 16], [10, 1, 2, 3], [10, 96, 0, 1]] {
            for places in TRANSLATED {
                let mut octets = prefix.octets();
                places.iter().zip(address).for_each(|(place, byte)| octets[*place] = byte);
                let form = Ipv6Addr::from(octets);
                assert!(named(&form.to_string()).is_some(), "{address:?} as {form}");
            }
        }
    }

    #[test]
    fn it_can_lead_into_the_network() {
        for address in [
            "10.0.0.7",
            "192.168.1.1",
            "8.8.8.8",
            "100.64.0.1",
            "2001:db8::1",
            "2001:db8::7f00:1",
            "2606:4700::6810:84e5",
            "fd00::1",
            "fd00:10:96::1",
            "64:ff9b::808:808",
            "64:ff9b:1::a00:1",
            "64:ff9b:1:abcd::808:808",
            "::ffff:10.0.0.7",
        ] {
            assert_eq!(named(address), None, "{address}");
        }
    }

    #[test]
    fn it_can_lead_neither_to_the_pod_nor_to_the_api_server() {
        for address in ["10.1.2.3", "2001:db8:1::3", "::ffff:10.1.2.3"] {
            assert_eq!(named(address), Some("this pod itself"), "{address}");
        }
        for address in ["10.96.0.1", "2001:db8:96::1", "192.0.2.7", "::ffff:192.0.2.7"] {
            assert_eq!(named(address), Some(API_SERVER), "{address}");
        }
    }

    #[test]
    fn a_granted_address_may_be_loopback_and_never_unspecified() {
        for address in
            ["127.0.0.1", "::1", "169.254.169.254", "fd00:ec2::23", "10.1.2.3", "10.96.0.1", "64:ff9b::7f00:1"]
        {
            assert_eq!(granted(address, 443), None, "{address}");
        }
        for address in ["0.0.0.0", "::", "224.0.0.1", "255.255.255.255", "::ffff:0.0.0.0", "64:ff9b::e000:1"] {
            assert!(granted(address, 443).is_some(), "{address}");
        }
        // The API server's configured address has a name already.
        for address in ["192.0.2.7", "::ffff:192.0.2.7"] {
            assert_eq!((granted(address, 6443), granted(address, 443)), (Some(API_SERVER), None), "{address}");
        }
        // Another address than the granted one is no part of the grant.
        let other = fault("127.0.0.1:80".parse().unwrap(), Some("127.0.0.2".parse().unwrap()), &known());
        assert!(other.is_some());
    }
}
