//! A recipe whose places can be asked for without end.

use std::cell::Cell;

use mergecore_config::{MergeConfig, Place, RecipePath};

/// Bytes of recipe that may be parsed to find lines and columns: each place is a parse.
const BUDGET: usize = 1 << 26;

/// A recipe, and how many of its places may still be given with line and column. A
/// recipe of a megabyte can hold ten thousand mistakes.
pub(super) struct Recipe<'a> {
    pub(super) config: &'a MergeConfig,
    left: Cell<usize>,
}

impl<'a> Recipe<'a> {
    pub(super) fn new(config: &'a MergeConfig) -> Self {
        Recipe { config, left: Cell::new(BUDGET) }
    }

    /// Where a value stands.
    pub(super) fn place(&self, path: &RecipePath) -> Box<Place> {
        Box::new(self.locate(path, MergeConfig::place))
    }

    /// Where a key stands.
    pub(super) fn place_of_key(&self, path: &RecipePath) -> Box<Place> {
        Box::new(self.locate(path, MergeConfig::place_of_key))
    }

    fn locate(&self, path: &RecipePath, find: fn(&MergeConfig, &RecipePath) -> Place) -> Place {
        // A small recipe has other costs.
        let cost = self.config.source_text().map_or(0, str::len).max(1 << 10);
        match self.left.get().checked_sub(cost) {
            Some(left) => {
                self.left.set(left);
                find(self.config, path)
            }
            None => self.config.place_by_path(path),
        }
    }
}
