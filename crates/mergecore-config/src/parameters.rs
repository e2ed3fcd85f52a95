//! A `parameters` mapping.

use crate::value::Setting;

/// The parameters of one level of a recipe, in the order they are written.
///
/// ```
/// use mergecore_config::Parameters;
///
/// let parameters = Parameters::new()
///     .with("density", 0.5)
///     .with("weight", vec![0.2, 0.8])
///     .with("normalize", true);
/// assert_eq!(parameters.len(), 3);
/// assert_eq!(parameters.get("density"), Some(&0.5.into()));
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parameters {
    entries: Vec<(String, Setting)>,
}

impl Parameters {
    /// No parameters.
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// Sets a parameter; one of that name gives way and is returned.
    ///
    /// ```
    /// use mergecore_config::Parameters;
    ///
    /// let mut parameters = Parameters::new();
    /// assert_eq!(parameters.insert("weight", 0.5), None);
    /// assert_eq!(parameters.insert("weight", 0.7), Some(0.5.into()));
    /// ```
    pub fn insert(
        &mut self,
        name: impl Into<String>,
        setting: impl Into<Setting>,
    ) -> Option<Setting> {
        let (name, setting) = (name.into(), setting.into());
        match self.entries.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => Some(std::mem::replace(old, setting)),
            None => {
                self.entries.push((name, setting));
                None
            }
        }
    }

    /// These parameters and one more, to build them in one expression.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, setting: impl Into<Setting>) -> Self {
        self.insert(name, setting);
        self
    }

    /// What is said about the parameter `name`.
    pub fn get(&self, name: &str) -> Option<&Setting> {
        self.entries.iter().find_map(|(known, setting)| (known == name).then_some(setting))
    }

    /// Names and settings, in order.
    ///
    /// ```
    /// let parameters = mergecore_config::Parameters::new().with("t", 0.5).with("normalize", true);
    /// let names: Vec<&str> = parameters.iter().map(|(name, _)| name).collect();
    /// assert_eq!(names, ["t", "normalize"]);
    /// ```
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Setting)> {
        self.entries.iter().map(|(name, setting)| (name.as_str(), setting))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Appends without a look for the name: keys of one mapping are distinct already.
    pub(crate) fn push(&mut self, name: String, setting: Setting) {
        self.entries.push((name, setting));
    }
}

impl<N: Into<String>, S: Into<Setting>> FromIterator<(N, S)> for Parameters {
    fn from_iter<I: IntoIterator<Item = (N, S)>>(entries: I) -> Self {
        let mut parameters = Self::new();
        parameters.extend(entries);
        parameters
    }
}

impl<N: Into<String>, S: Into<Setting>> Extend<(N, S)> for Parameters {
    fn extend<I: IntoIterator<Item = (N, S)>>(&mut self, entries: I) {
        for (name, setting) in entries {
            self.insert(name, setting);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_equal_names_wins_in_the_first_place() {
        let parameters: Parameters = [("a", 1.0), ("b", 2.0), ("a", 3.0)].into_iter().collect();
        let entries: Vec<_> = parameters.iter().collect();
        assert_eq!(entries, [("a", &3.0.into()), ("b", &2.0.into())]);
        let mut parameters = parameters;
        assert_eq!(parameters.insert("b", true), Some(2.0.into()));
        assert_eq!(parameters.get("c"), None);
    }
}
