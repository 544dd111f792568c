//! The kernels that are asked for by name, and where Debian keeps them.

use std::fmt;
use std::str::FromStr;

/// What a kernel is to the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Refused.
    TooOld,
    /// TC programs hang on filters.
    WithoutTcx,
    /// TC programs have links.
    WithTcx,
}

/// A kernel of Debian's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kernel {
    /// Too old: the daemon has to refuse it.
    V5_10,
    /// The oldest that is supported: no TCX.
    V6_1,
    /// The first of Debian's with TCX.
    V6_12,
    /// The newest that Debian offers.
    Newest,
}

impl Kernel {
    pub(crate) const ALL: [Self; 4] = [Self::V6_1, Self::V6_12, Self::Newest, Self::V5_10];

    /// The suite of Debian's archive whose current kernel it is. Single versions leave the archive, so none is named.
    pub(crate) const fn suite(self) -> &'static str {
        match self {
            Self::V5_10 => "bullseye",
            Self::V6_1 => "bookworm",
            Self::V6_12 => "trixie",
            Self::Newest => "trixie-backports",
        }
    }

    pub(crate) const fn kind(self) -> Kind {
        match self {
            Self::V5_10 => Kind::TooOld,
            Self::V6_1 => Kind::WithoutTcx,
            Self::V6_12 | Self::Newest => Kind::WithTcx,
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V5_10 => "5.10",
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::Newest => "newest",
        })
    }
}

impl FromStr for Kernel {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kernel| kernel.to_string() == word)
            .ok_or_else(|| format!("no kernel is called {word}; say 5.10, 6.1, 6.12 or newest"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_found_by_the_name_that_it_shows() {
        for kernel in Kernel::ALL {
            assert_eq!(kernel.to_string().parse(), Ok(kernel));
        }
        assert!("6.6".parse::<Kernel>().is_err_and(|why| why.contains("6.12")));
    }
}
