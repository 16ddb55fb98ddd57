//! Lists come in parts.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::problem::Problem;

/// Which part of a list is asked for.
#[derive(Debug, Default, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// At most so many, 1 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub limit: Option<u32>,
    /// Only ids behind this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

impl PageQuery {
    /// `limit`, with its default of 100.
    ///
    /// # Errors
    /// It is out of its bounds.
    pub fn limit(&self) -> Result<u32, Problem> {
        bounded(self.limit)
    }
}

/// `limit`, with its default of 100.
///
/// # Errors
/// It is out of its bounds.
pub fn bounded(limit: Option<u32>) -> Result<u32, Problem> {
    match limit.unwrap_or(100) {
        limit @ 1..=1000 => Ok(limit),
        limit => Err(Problem::bad_request(format!("limit is 1 to 1000, not {limit}"))),
    }
}

/// A part of a list; another one follows behind `next`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct PageOf<T> {
    /// In the order of their ids, if no other was asked for.
    pub items: Vec<T>,
    /// For `after`; absent at the end of the list.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
}

impl<T> PageOf<T> {
    /// A part of at most `limit` of `items`, which has one more if more follow.
    pub fn new(mut items: Vec<T>, limit: u32, id: impl Fn(&T) -> &str) -> Self {
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next = items.last().filter(|_| more).map(|last| id(last).to_owned());
        Self { items, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_where_the_list_ends() {
        let page = PageOf::new(vec!["a", "b", "c"], 2, |id| id);
        assert_eq!((page.items, page.next), (vec!["a", "b"], Some("b".into())));
        let page = PageOf::new(vec!["a", "b"], 2, |id| id);
        assert_eq!((page.items, page.next), (vec!["a", "b"], None));
    }
}
