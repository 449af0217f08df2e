//! Values of flags that several subcommands take.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// How many of a room talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Talkers {
    /// So many.
    Number(usize),
    /// Everybody.
    All,
}

impl Talkers {
    /// How many that are of `people`; `None` when there are not so many.
    pub fn of(self, people: usize) -> Option<usize> {
        match self {
            Talkers::All => Some(people),
            Talkers::Number(talkers) => (talkers <= people).then_some(talkers),
        }
    }
}

impl fmt::Display for Talkers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Talkers::Number(talkers) => write!(f, "{talkers}"),
            Talkers::All => f.write_str("all"),
        }
    }
}

impl FromStr for Talkers {
    type Err = NoNumber;

    fn from_str(text: &str) -> Result<Talkers, NoNumber> {
        if text == "all" {
            return Ok(Talkers::All);
        }
        text.parse().map(Talkers::Number).map_err(|_| NoNumber)
    }
}

/// Text that says no number of talkers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a number, or all")]
pub struct NoNumber;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn talkers_are_a_number_or_all() {
        assert_eq!("3".parse(), Ok(Talkers::Number(3)));
        assert_eq!("all".parse(), Ok(Talkers::All));
        assert_eq!("most".parse::<Talkers>(), Err(NoNumber));
        assert_eq!(Talkers::All.of(7), Some(7));
        assert_eq!(Talkers::Number(8).of(7), None);
        assert_eq!(Talkers::Number(7).to_string(), "7");
    }
}
