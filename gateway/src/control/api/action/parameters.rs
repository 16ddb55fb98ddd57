//! The parameters of an action: `name=value` and `names.N=value`, each once.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::control::api::check_text;
use crate::control::api::problem::Problem;

/// Most values of one list.
const LIST_MAX: usize = 100;

/// The first action that a query or a form names.
pub fn action_in(text: &[u8]) -> Option<String> {
    form_urlencoded::parse(text).find(|(name, _)| name == "action").map(|(_, action)| action.into_owned())
}

/// Those that nobody took yet.
#[derive(Debug, Default)]
pub struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// Adds those of a query or a form.
    ///
    /// # Errors
    /// One is given twice, or they are not UTF-8.
    pub fn read(&mut self, text: &[u8]) -> Result<(), Problem> {
        check_text(text)?;
        for (name, value) in form_urlencoded::parse(text) {
            if self.0.insert(name.clone().into_owned(), value.into_owned()).is_some() {
                return Err(Problem::bad_request(format!("{name} is given twice")));
            }
        }
        Ok(())
    }

    /// The value of `name`.
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// A number.
    ///
    /// # Errors
    /// It is none.
    pub fn number(&mut self, name: &str) -> Result<Option<u64>, Problem> {
        let bad = |text: &String| Problem::bad_request(format!("{name} is a number, not {text:?}"));
        self.take(name).map(|text| text.parse().map_err(|_| bad(&text))).transpose()
    }

    /// A yes or no; no if it is not given.
    ///
    /// # Errors
    /// It is neither.
    pub fn flag(&mut self, name: &str) -> Result<bool, Problem> {
        match self.take(name).as_deref() {
            None | Some("0" | "false") => Ok(false),
            Some("1" | "true") => Ok(true),
            Some(text) => Err(Problem::bad_request(format!("{name} is 0 or 1, not {text:?}"))),
        }
    }

    /// The values of `name.N`, in the order of N.
    ///
    /// # Errors
    /// An N is no number, an N is given twice, or there are too many.
    pub fn list(&mut self, name: &str) -> Result<Vec<String>, Problem> {
        let mut values = BTreeMap::new();
        let prefix = format!("{name}.");
        for (key, value) in self.0.extract_if(prefix.clone().., |key, _| key.starts_with(&prefix)) {
            let place: Option<u32> = key[prefix.len()..].parse().ok();
            let place = place.ok_or_else(|| Problem::bad_request(format!("{key} is not {prefix}N")))?;
            if values.insert(place, value).is_some() {
                return Err(Problem::bad_request(format!("{prefix}{place} is given twice")));
            }
        }
        if values.len() > LIST_MAX {
            return Err(Problem::bad_request(format!("{name} has at most {LIST_MAX} values")));
        }
        Ok(values.into_values().collect())
    }

    /// Which part of a list is asked for: `offset` and `limit`, which is 20 if it is not given.
    ///
    /// # Errors
    /// One of them is out of its bounds.
    pub fn part(&mut self) -> Result<Range<u32>, Problem> {
        let offset = self.number("offset")?.unwrap_or(0);
        let offset = u32::try_from(offset).map_err(|_| Problem::bad_request("offset is too large"))?;
        match self.number("limit")?.unwrap_or(20) {
            limit @ 1..=1000 => Ok(offset..offset.saturating_add(limit as u32)),
            limit => Err(Problem::bad_request(format!("limit is 1 to 1000, not {limit}"))),
        }
    }

    /// All were taken.
    ///
    /// # Errors
    /// Which was not: a wish that is not understood must not be passed over.
    pub fn end(self) -> Result<(), Problem> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(name) => Err(Problem::bad_request(format!("unknown parameter {name:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Parameters {
        let mut parameters = Parameters::default();
        parameters.read(text.as_bytes()).expect("parameters");
        parameters
    }

    #[test]
    fn lists_are_in_the_order_of_their_numbers() {
        let mut parameters = read("instances.10=c&instances.2=b&instances.1=a%2Bb&instancesx=d");
        assert_eq!(parameters.list("instances").expect("a list"), ["a+b", "b", "c"]);
        assert!(parameters.list("brokers").expect("a list").is_empty());
        assert_eq!(parameters.take("instancesx").as_deref(), Some("d"));
        assert!(parameters.end().is_ok());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        assert!(Parameters::default().read(b"a=1&a=2").is_err());
        assert!(Parameters::default().read(b"a=%c3%28").is_err());
        assert!(Parameters::default().read(b"a=\xff").is_err());
        assert!(read("instances.x=1").list("instances").is_err());
        assert!(read("instances.1=a&instances.01=b").list("instances").is_err());
        assert!(read("reuse=yes").flag("reuse").is_err());
        assert!(read("limit=1001").part().is_err());
        assert!(read("limit=0").part().is_err());
        assert!(read("offset=-1").part().is_err());
        assert!(read("colour=red").end().is_err());
        let many: Vec<_> = (0..=LIST_MAX).map(|n| format!("brokers.{n}=b")).collect();
        assert!(read(&many.join("&")).list("brokers").is_err());
    }

    #[test]
    fn a_part_has_its_defaults() {
        assert_eq!(read("").part().expect("a part"), 0..20);
        assert_eq!(read("offset=5&limit=2").part().expect("a part"), 5..7);
    }
}
