//! How signs are elected.

use crate::Arguments;

/// How the sign of each element is elected, of which only the models that agree are combined.
///
/// By default a model's vote is its weighted delta (TIES). The sign of the votes' sum is
/// elected, plus where that is zero. A model agrees where its own vote has that sign; a zero
/// delta never does.
///
/// ```
/// use mergecore_kernel::{Argument, Arguments, Consensus, Elect, Election};
///
/// let mut shared = Arguments::default();
/// assert_eq!(Election::from_arguments(&shared), Election::default());
/// shared.insert("consensus", Argument::Text("count".to_owned()));
/// let election = Election::from_arguments(&shared);
/// assert_eq!(election, Election { consensus: Consensus::Count, elect: Elect::Weighted });
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Election {
    /// What is added up.
    pub consensus: Consensus,
    /// What a model votes with.
    pub elect: Elect,
}

/// What is added up in an [`Election`]: the recipe's `consensus`.
///
/// ```
/// assert_eq!(mergecore_kernel::Consensus::default(), mergecore_kernel::Consensus::Sum);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Consensus {
    /// The votes: a large change outweighs several small ones.
    #[default]
    Sum,
    /// Their signs: each model has one vote, and none where it changes nothing.
    Count,
}

/// What a model votes with in an [`Election`]: the recipe's `elect`.
///
/// ```
/// assert_eq!(mergecore_kernel::Elect::default(), mergecore_kernel::Elect::Weighted);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Elect {
    /// Its delta times its weight.
    #[default]
    Weighted,
    /// Its delta, whatever its weight.
    Unweighted,
}

impl Election {
    /// What the parameters `consensus` and `elect` ask for.
    pub fn from_arguments(shared: &Arguments) -> Self {
        Election {
            consensus: match shared.text("consensus") {
                Some("count") => Consensus::Count,
                _ => Consensus::Sum,
            },
            elect: match shared.text("elect") {
                Some("unweighted") => Elect::Unweighted,
                _ => Elect::Weighted,
            },
        }
    }
}
