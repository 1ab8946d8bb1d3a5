//! Ranges of IP addresses.

use std::{fmt, net::IpAddr};

use super::{Function, function, ip, method, unfit};
use crate::{
    error::Error,
    evaluate::{Call, Evaluated},
    types::Type::{Bool, Cidr as Range, Int, Ip, String},
    value::Value,
};

pub(super) const FUNCTIONS: &[Function] = &[
    function("cidr", &[String], Range, |_, a| match a {
        [Value::String(text)] => Cidr::parse(text).map(Value::Cidr),
        _ => unfit(a),
    }),
    function("isCIDR", &[String], Bool, |_, a| match a {
        [Value::String(text)] => Ok(Value::Bool(Cidr::parse(text).is_ok())),
        _ => unfit(a),
    }),
    method("containsIP", &[Range, String], Bool, |_, a| match a {
        [Value::Cidr(range), Value::String(text)] => Ok(Value::Bool(range.contains(ip::parse(text)?))),
        _ => unfit(a),
    }),
    method("containsIP", &[Range, Ip], Bool, |_, a| match a {
        [Value::Cidr(range), Value::Ip(address)] => Ok(Value::Bool(range.contains(*address))),
        _ => unfit(a),
    }),
    method("containsCIDR", &[Range, String], Bool, |_, a| match a {
        [Value::Cidr(range), Value::String(text)] => Ok(Value::Bool(range.encloses(Cidr::parse(text)?))),
        _ => unfit(a),
    }),
    method("containsCIDR", &[Range, Range], Bool, |_, a| match a {
        [Value::Cidr(range), Value::Cidr(other)] => Ok(Value::Bool(range.encloses(*other))),
        _ => unfit(a),
    }),
    method("ip", &[Range], Ip, |_, a| match a {
        [Value::Cidr(range)] => Ok(Value::Ip(range.address)),
        _ => unfit(a),
    }),
    method("prefixLength", &[Range], Int, |_, a| match a {
        [Value::Cidr(range)] => Ok(Value::Int(i64::from(range.bits))),
        _ => unfit(a),
    }),
    method("masked", &[Range], Range, masked),
];

fn masked<'a>(_: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    match arguments {
        [Value::Cidr(range)] => Ok(Value::Cidr(range.masked())),
        _ => unfit(arguments),
    }
}

/// An address and how many of its bits are the network's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

impl Cidr {
    fn parse(text: &str) -> Result<Self, Error> {
        let invalid = || {
            Error::failed(format!(
                "network address parse error during conversion from string: {}",
                text.chars().take(64).collect::<std::string::String>()
            ))
        };
        let (address, bits) = text.rsplit_once('/').ok_or_else(invalid)?;
        let address = ip::parse(address)?;
        let is_plain = !bits.is_empty()
            && bits.bytes().all(|b| b.is_ascii_digit())
            && (bits.len() == 1 || !bits.starts_with('0'));
        let bits: u8 = Some(bits)
            .filter(|_| is_plain)
            .and_then(|bits| bits.parse().ok())
            .ok_or_else(invalid)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        if bits > most {
            return Err(invalid());
        }
        Ok(Self { address, bits })
    }

    fn masked(self) -> Self {
        let address = match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V4((u32::from(address) & mask).into())
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V6((u128::from(address) & mask).into())
            }
        };
        Self { address, ..self }
    }

    fn contains(self, address: IpAddr) -> bool {
        let other = Self {
            address,
            bits: self.bits,
        };
        self.address.is_ipv4() == address.is_ipv4() && self.masked() == other.masked()
    }

    fn encloses(self, other: Self) -> bool {
        self.bits <= other.bits && self.contains(other.address)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}
