//! What stands on the command line in a form of its own.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;

use clap::ValueEnum as _;

use crate::scenario::Name;

/// How checks are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Loads {
    /// As many as the server answers.
    Closed,
    /// A fixed number each second.
    Open,
    /// First the one, then the other.
    Both,
}

impl Loads {
    pub(crate) fn closed(self) -> bool {
        self != Self::Open
    }

    pub(crate) fn open(self) -> bool {
        self != Self::Closed
    }
}

/// Checks in a second in the open loop: `N`, or `N%` of what servers reach in the closed loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rate {
    /// So many, whoever is asked.
    Fixed(NonZeroU32),
    /// So many percent, of those of the slowest server of the scenario.
    Share(NonZeroU32),
}

impl Rate {
    /// The number for servers of which the slowest reached `slowest` in the closed loop.
    pub(crate) fn with(self, slowest: Option<f64>) -> Option<NonZeroU32> {
        match self {
            Self::Fixed(rate) => Some(rate),
            // Saturates, and drops what is less than one.
            Self::Share(percent) => NonZeroU32::new((slowest? * f64::from(percent.get()) / 100.0) as u32),
        }
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, limit, rate): (_, _, fn(NonZeroU32) -> Self) = match text.strip_suffix('%') {
            Some(percent) => (percent, 100, Self::Share),
            None => (text, 1_000_000, Self::Fixed),
        };
        let number = number.parse().ok().filter(|number: &NonZeroU32| number.get() <= limit);
        number.map(rate).ok_or_else(|| "expected a number such as `5000`, or a share such as `50%`".to_owned())
    }
}

/// An executable of Usher: `FILE`, or `NAME=FILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Executable {
    /// What it is called in the table.
    pub(crate) name: String,
    pub(crate) file: PathBuf,
}

impl FromStr for Executable {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some(("", _) | (_, "")) => Err("expected FILE or NAME=FILE".to_owned()),
            Some((name, file)) => Ok(Self { name: name.to_owned(), file: file.into() }),
            None => Ok(Self { name: "usher".to_owned(), file: text.into() }),
        }
    }
}

/// A server that was started by somebody else: `NAME=ADDRESS[@PROCESS][/SCENARIO,...]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) process: Option<u32>,
    /// What it is configured for; at least one.
    pub(crate) scenarios: Vec<Name>,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once('=').ok_or("expected NAME=ADDRESS[@PROCESS][/SCENARIO,...]")?;
        let (rest, scenarios) = match rest.split_once('/') {
            None => (rest, vec![Name::Anonymous]),
            Some((rest, words)) => (rest, words.split(',').map(served).collect::<Result<_, _>>()?),
        };
        let (address, process) = match rest.split_once('@') {
            None => (rest, None),
            Some((address, process)) => {
                (address, Some(process.parse().map_err(|_| format!("`{process}` is not a process id"))?))
            }
        };
        let address =
            address.parse().map_err(|_| format!("`{address}` is not an address such as `127.0.0.1:50051`"))?;
        Ok(Self { name: name.to_owned(), address, process, scenarios })
    }
}

/// A scenario that a server can serve that runs already.
fn served(word: &str) -> Result<Name, String> {
    match Name::from_str(word, false) {
        Ok(Name::Churn) => Err("the files of a server that runs already cannot be changed for `churn`".to_owned()),
        Ok(name) => Ok(name),
        Err(_) => Err(format!("`{word}` is not a scenario")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_read() {
        let executable = |name: &str, file: &str| Ok(Executable { name: name.to_owned(), file: file.into() });
        assert_eq!("/bin/usher".parse(), executable("usher", "/bin/usher"));
        assert_eq!("before=/bin/usher".parse(), executable("before", "/bin/usher"));
        assert_eq!("a=b=c".parse(), executable("a", "b=c"));
        for wrong in ["=", "a=", "=b"] {
            assert!(wrong.parse::<Executable>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn peers_are_read() {
        let address: SocketAddr = ([127, 0, 0, 1], 5).into();
        let peer = |process, scenarios: &[Name]| {
            Ok(Peer { name: "other".to_owned(), address, process, scenarios: scenarios.to_vec() })
        };
        assert_eq!("other=127.0.0.1:5".parse(), peer(None, &[Name::Anonymous]));
        assert_eq!("other=127.0.0.1:5@77".parse(), peer(Some(77), &[Name::Anonymous]));
        assert_eq!("other=127.0.0.1:5@77/opa".parse(), peer(Some(77), &[Name::Opa]));
        assert_eq!("other=127.0.0.1:5/cel-1,api-key-10".parse(), peer(None, &[Name::Cel1, Name::ApiKey10]));
        for wrong in [
            "",
            "other",
            "other=",
            "other=127.0.0.1",
            "other=127.0.0.1:5@",
            "other=127.0.0.1:5@x",
            "other=127.0.0.1:5/",
            "other=127.0.0.1:5/opa,",
            "other=127.0.0.1:5/churn",
            "other=127.0.0.1:5/opa@7",
        ] {
            assert!(wrong.parse::<Peer>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn rates_are_read_and_shares_are_of_the_slowest() {
        let number = |number| NonZeroU32::new(number).unwrap();
        assert_eq!("5000".parse(), Ok(Rate::Fixed(number(5000))));
        assert_eq!("50%".parse(), Ok(Rate::Share(number(50))));
        for wrong in ["", "0", "0%", "%", "101%", "-1", "1.5", "1000001"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
        for (rate, slowest, expected) in [
            (Rate::Fixed(number(7)), None, Some(7)),
            (Rate::Fixed(number(7)), Some(3.0), Some(7)),
            (Rate::Share(number(50)), Some(3001.0), Some(1500)),
            (Rate::Share(number(50)), Some(1.0), None),
            (Rate::Share(number(50)), Some(f64::NAN), None),
            (Rate::Share(number(50)), None, None),
        ] {
            assert_eq!(rate.with(slowest).map(NonZeroU32::get), expected, "{rate:?} {slowest:?}");
        }
    }
}
