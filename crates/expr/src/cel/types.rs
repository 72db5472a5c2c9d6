//! The static types of expressions.

use std::fmt;

/// What is known about the value of an expression before it is evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Type {
    /// Anything: the members of the authorization document.
    Dyn,
    /// The type of what was refused already; agrees with everything so that one mistake is reported once.
    Error,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Timestamp,
    Duration,
    List(Box<Self>),
    Map(Box<Self>, Box<Self>),
    Optional(Box<Self>),
    /// A value that an extension made, by the name of its type.
    Object(&'static str),
    /// The type of a type, as of `int` or `type(x)`.
    Metatype(Box<Self>),
    /// A type still to be found, for example the elements of `[]`.
    Variable(usize),
    /// A placeholder in a declaration, which every use replaces by a variable of its own.
    Parameter(char),
}

impl Type {
    pub(super) fn list(element: Self) -> Self {
        Self::List(Box::new(element))
    }

    pub(super) fn map(key: Self, value: Self) -> Self {
        Self::Map(Box::new(key), Box::new(value))
    }

    pub(super) fn optional(value: Self) -> Self {
        Self::Optional(Box::new(value))
    }

    pub(super) fn type_of(value: Self) -> Self {
        Self::Metatype(Box::new(value))
    }

    /// Whether anything is accepted: nothing is known, or something was refused already.
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Dyn | Self::Error)
    }

    /// Whether values of this type hold no other values, so that they compare without being looked into.
    pub(super) fn is_scalar(&self) -> bool {
        matches!(
            self,
            Self::Null
                | Self::Bool
                | Self::Int
                | Self::Uint
                | Self::Double
                | Self::String
                | Self::Bytes
                | Self::Timestamp
                | Self::Duration
                | Self::Metatype(_)
        )
    }

    /// Whether the operators of this type need no help at run time: numbers and times.
    pub(super) fn is_quantity(&self) -> bool {
        matches!(self, Self::Int | Self::Uint | Self::Double | Self::Timestamp | Self::Duration)
    }

    /// Whether `self` says no more than `other` does.
    pub(super) fn is_as_general_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Dyn | Self::Variable(_), _) => true,
            (_, Self::Dyn | Self::Variable(_)) => false,
            (Self::List(a), Self::List(b)) | (Self::Optional(a), Self::Optional(b)) => a.is_as_general_as(b),
            (Self::Map(a, b), Self::Map(c, d)) => a.is_as_general_as(c) && b.is_as_general_as(d),
            (Self::Metatype(_), Self::Metatype(_)) => true,
            (a, b) => a == b,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn => formatter.write_str("dyn"),
            Self::Error => formatter.write_str("error"),
            Self::Null => formatter.write_str("null_type"),
            Self::Bool => formatter.write_str("bool"),
            Self::Int => formatter.write_str("int"),
            Self::Uint => formatter.write_str("uint"),
            Self::Double => formatter.write_str("double"),
            Self::String => formatter.write_str("string"),
            Self::Bytes => formatter.write_str("bytes"),
            Self::Timestamp => formatter.write_str("timestamp"),
            Self::Duration => formatter.write_str("duration"),
            Self::List(element) => write!(formatter, "list({element})"),
            Self::Map(key, value) => write!(formatter, "map({key}, {value})"),
            Self::Optional(value) => write!(formatter, "optional_type({value})"),
            Self::Object(name) => formatter.write_str(name),
            Self::Metatype(value) => write!(formatter, "type({value})"),
            Self::Variable(number) => write!(formatter, "_var{number}"),
            Self::Parameter(name) => write!(formatter, "{name}"),
        }
    }
}
