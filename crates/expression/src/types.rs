//! Types, as values have them and as functions declare them.

/// A type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// Any type.
    Dyn,
    /// `null`.
    Null,
    /// A boolean.
    Bool,
    /// A 64-bit integer.
    Int,
    /// A 64-bit integer without a sign.
    Uint,
    /// A 64-bit floating-point number.
    Double,
    /// Text.
    String,
    /// Bytes.
    Bytes,
    /// A list.
    List,
    /// A map.
    Map,
    /// A moment.
    Timestamp,
    /// A length of time.
    Duration,
    /// A type.
    Type,
    /// A value that may be absent.
    Optional,
    /// An IP address.
    Ip,
    /// A range of IP addresses.
    Cidr,
    /// A URL.
    Url,
    /// A quantity as Kubernetes has it.
    Quantity,
    /// A semantic version.
    Semver,
    /// A named format of strings.
    Format,
    /// A type of the host, by its name.
    Host(&'static str),
}

impl Type {
    /// Its name in CEL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dyn => "dyn",
            Self::Null => "null_type",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::List => "list",
            Self::Map => "map",
            Self::Timestamp => "google.protobuf.Timestamp",
            Self::Duration => "google.protobuf.Duration",
            Self::Type => "type",
            Self::Optional => "optional_type",
            Self::Ip => "net.IP",
            Self::Cidr => "net.CIDR",
            Self::Url => "kubernetes.URL",
            Self::Quantity => "kubernetes.Quantity",
            Self::Semver => "kubernetes.Semver",
            Self::Format => "kubernetes.NamedFormat",
            Self::Host(name) => name,
        }
    }

    /// The type that an expression can name so.
    pub fn named(name: &str) -> Option<Self> {
        const NAMED: [Type; 15] = [
            Type::Null,
            Type::Bool,
            Type::Int,
            Type::Uint,
            Type::Double,
            Type::String,
            Type::Bytes,
            Type::List,
            Type::Map,
            Type::Timestamp,
            Type::Duration,
            Type::Type,
            Type::Optional,
            Type::Ip,
            Type::Cidr,
        ];
        NAMED.into_iter().find(|type_| type_.name() == name)
    }

    /// Whether a value of another type is accepted where this one is declared.
    pub fn accepts(self, other: Self) -> bool {
        self == Self::Dyn || self == other
    }
}
