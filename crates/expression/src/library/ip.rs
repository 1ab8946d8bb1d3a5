//! IP addresses, without zones and without those of version 4 in the form of version 6.

use std::net::IpAddr;

use super::{Function, function, method, unfit};
use crate::{
    error::Error,
    evaluate::Evaluated,
    types::Type::{Bool, Int, Ip, String},
    value::Value,
};

pub(super) const FUNCTIONS: &[Function] = &[
    function("ip", &[String], Ip, |_, a| match a {
        [Value::String(text)] => parse(text).map(Value::Ip),
        _ => unfit(a),
    }),
    function("isIP", &[String], Bool, |_, a| match a {
        [Value::String(text)] => Ok(Value::Bool(parse(text).is_ok())),
        _ => unfit(a),
    }),
    function("ip.isCanonical", &[String], Bool, |_, a| match a {
        [Value::String(text)] => Ok(Value::Bool(parse(text)?.to_string() == **text)),
        _ => unfit(a),
    }),
    method("family", &[Ip], Int, |_, a| match a {
        [Value::Ip(IpAddr::V4(_))] => Ok(Value::Int(4)),
        [Value::Ip(IpAddr::V6(_))] => Ok(Value::Int(6)),
        _ => unfit(a),
    }),
    method("isUnspecified", &[Ip], Bool, |_, a| {
        test(a, IpAddr::is_unspecified)
    }),
    method("isLoopback", &[Ip], Bool, |_, a| test(a, IpAddr::is_loopback)),
    method("isLinkLocalMulticast", &[Ip], Bool, |_, a| {
        test(a, is_link_local_multicast)
    }),
    method("isLinkLocalUnicast", &[Ip], Bool, |_, a| test(a, is_link_local)),
    method("isGlobalUnicast", &[Ip], Bool, |_, a| test(a, is_global)),
];

/// An address; the error says why it is none.
pub(super) fn parse(text: &str) -> Result<IpAddr, Error> {
    let shown: std::string::String = text.chars().take(64).collect();
    if text.contains('%') {
        return Err(Error::failed(format!(
            "IP address \"{shown}\" with zone value is not allowed"
        )));
    }
    match text.parse() {
        Ok(IpAddr::V6(address)) if address.to_ipv4_mapped().is_some() => Err(Error::failed(format!(
            "IPv4-mapped IPv6 address \"{shown}\" is not allowed"
        ))),
        Ok(address) => Ok(address),
        Err(_) => Err(Error::failed(format!(
            "IP Address \"{shown}\" parse error during conversion from string"
        ))),
    }
}

fn test<'a>(arguments: &[Value<'a>], holds: impl Fn(&IpAddr) -> bool) -> Evaluated<'a> {
    match arguments {
        [Value::Ip(address)] => Ok(Value::Bool(holds(address))),
        _ => unfit(arguments),
    }
}

fn is_link_local_multicast(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[..3] == [224, 0, 0],
        IpAddr::V6(address) => address.octets()[0] == 0xff && address.octets()[1] & 0x0f == 2,
    }
}

fn is_link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

fn is_global(address: &IpAddr) -> bool {
    let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !(is_broadcast
        || address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || is_link_local(address))
}
