//! The filters of `search`.

use lrun_runtime::error::Result;

use super::{Filters, invalid};
use crate::ui::rows::search::Entry;

/// The names that `search --filter` knows.
const NAMES: [&str; 3] = [AUTOMATED, OFFICIAL, STARS];
const AUTOMATED: &str = "is-automated";
const OFFICIAL: &str = "is-official";
const STARS: &str = "stars";

/// Which of the repositories that were found are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// Whether the filter `is-automated` was given, of which docker warns.
    pub automated: bool,
    /// No repository counts as automated any more, so that asking for those shows none.
    none: bool,
    official: Option<bool>,
    stars: u64,
}

impl Query {
    /// Reads the arguments of all `--filter` flags.
    ///
    /// # Errors
    ///
    /// `Invalid`: an unknown filter, or what a filter does not take.
    pub fn parse(arguments: &[String]) -> Result<Self> {
        let filters = Filters::parse(arguments, &NAMES)?;
        let count = |value: &str| value.parse().map_err(|_| invalid(STARS, value, "must be a number"));
        let stars: Vec<u64> = filters.values(STARS).map(count).collect::<Result<_>>()?;
        Ok(Self {
            automated: filters.has(AUTOMATED),
            none: filters.truth(AUTOMATED)? == Some(true),
            official: filters.truth(OFFICIAL)?,
            stars: stars.into_iter().max().unwrap_or(0),
        })
    }

    /// Whether this one is shown.
    pub fn shows(&self, entry: &Entry) -> bool {
        let found = &entry.found;
        !self.none && self.official.is_none_or(|official| official == found.official) && found.stars >= self.stars
    }
}

#[cfg(test)]
mod tests {
    use lrun_runtime::registry::search::Found;

    use super::*;

    #[test]
    fn each_filter_of_search() {
        let found = Found { stars: 7, official: true, ..Found::default() };
        let entry = Entry { found, whole: false };
        for (arguments, shown) in [
            (&[][..], Some(true)),
            (&["stars=7"], Some(true)),
            (&["stars=8"], Some(false)),
            (&["stars=1", "stars=8"], Some(false)),
            (&["is-official=true", "stars=3"], Some(true)),
            (&["is-official=0"], Some(false)),
            (&["is-automated=false"], Some(true)),
            (&["is-automated=1"], Some(false)),
            (&["stars=many"], None),
            (&["is-official=perhaps"], None),
            (&["name=x"], None),
        ] {
            let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
            assert_eq!(Query::parse(&arguments).map(|query| query.shows(&entry)).ok(), shown, "{arguments:?}");
        }
    }
}
