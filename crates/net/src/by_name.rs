//! Values for the name that a client asks for (SNI, RFC 6066 §3).

use std::collections::HashMap;
use std::convert::Infallible;

/// Values by name: `example.com`, or `*.example.com` for all names with one label more. An exact
/// name comes before a wildcard.
#[derive(Debug)]
pub(crate) struct ByName<T> {
    /// Names without a wildcard, in lower case.
    exact: HashMap<String, T>,
    /// Names with a wildcard, without `*.` in front.
    wildcards: HashMap<String, T>,
    /// For all other names, and for clients that ask for none.
    default: T,
}

impl<T> ByName<T> {
    pub(crate) fn new(default: T, named: impl IntoIterator<Item = (String, T)>) -> Self {
        let mut by_name = Self {
            exact: HashMap::new(),
            wildcards: HashMap::new(),
            default,
        };
        for (name, value) in named {
            let (names, name) = match name.strip_prefix("*.") {
                Some(parent) => (&mut by_name.wildcards, parent),
                None => (&mut by_name.exact, &*name),
            };
            names.insert(name.to_ascii_lowercase(), value);
        }
        by_name
    }

    /// Returns the value for a name, which is in lower case: rustls makes it so.
    pub(crate) fn find(&self, name: Option<&str>) -> &T {
        let named = name.and_then(|name| {
            let parent = || self.wildcards.get(name.split_once('.')?.1);
            self.exact.get(name).or_else(parent)
        });
        named.unwrap_or(&self.default)
    }

    /// Returns the same names with other values.
    pub(crate) fn map<U>(&self, mut value: impl FnMut(&T) -> U) -> ByName<U> {
        let Ok(mapped) = self.try_map(|found| Ok::<_, Infallible>(value(found)));
        mapped
    }

    /// Returns the same names with other values.
    ///
    /// # Errors
    /// The first error that `value` returns.
    pub(crate) fn try_map<U, E>(
        &self,
        mut value: impl FnMut(&T) -> Result<U, E>,
    ) -> Result<ByName<U>, E> {
        let mut all = |names: &HashMap<String, T>| -> Result<HashMap<String, U>, E> {
            let names = names.iter();
            names
                .map(|(name, found)| Ok((name.clone(), value(found)?)))
                .collect()
        };
        Ok(ByName {
            exact: all(&self.exact)?,
            wildcards: all(&self.wildcards)?,
            default: value(&self.default)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exact_name_comes_before_a_wildcard_and_that_before_the_default() {
        let named = [
            ("Example.com", "exact"),
            ("www.example.com", "exact"),
            ("*.example.com", "wildcard"),
        ];
        let named = named.map(|(name, value)| (name.to_owned(), value));
        let by_name = ByName::new("default", named).map(|value| (*value).to_owned());
        for (name, expected) in [
            (None, "default"),
            (Some("example.com"), "exact"),
            (Some("www.example.com"), "exact"),
            (Some("a.example.com"), "wildcard"),
            (Some("a.b.example.com"), "default"),
            (Some("example.org"), "default"),
            (Some("localhost"), "default"),
        ] {
            assert_eq!(by_name.find(name), expected, "{name:?}");
        }
    }
}
