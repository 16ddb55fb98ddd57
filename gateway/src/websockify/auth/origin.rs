//! Only pages of some origins.

use hyper::header::ORIGIN;

use super::{AuthPlugin, Denied, Visitor, words};

pub struct ExpectOrigin(Vec<String>);

impl ExpectOrigin {
    /// From origins with white space between them.
    pub fn new(source: &str) -> Self {
        Self(words(source))
    }
}

impl AuthPlugin for ExpectOrigin {
    fn admit(&self, visitor: &Visitor<'_>) -> Result<(), Denied> {
        let mut origins = visitor.headers.get_all(ORIGIN).into_iter();
        // One, and only one: of two, nobody knows which a page is from.
        let (Some(origin), None) = (origins.next(), origins.next()) else { return Err(Denied::Origin) };
        let expected = origin.to_str().is_ok_and(|origin| self.0.iter().any(|known| known == origin));
        if expected { Ok(()) } else { Err(Denied::Origin) }
    }
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;

    use super::*;

    #[test]
    fn only_some_origins_may() {
        for (shown, good) in [
            (&["https://a.example"][..], true),
            (&["http://b:8080"], true),
            (&[], false),
            (&["https://a.example:443"], false),
            (&["https://a.example.evil"], false),
            (&["null"], false),
            (&["https://a.example", "http://evil"], false),
        ] {
            let mut headers = HeaderMap::new();
            for origin in shown {
                headers.append(ORIGIN, origin.parse().expect("a header"));
            }
            let visitor = Visitor { headers: &headers, certificate: None };
            let admitted = ExpectOrigin::new(" https://a.example\n http://b:8080").admit(&visitor);
            assert_eq!(admitted.is_ok(), good, "{shown:?}");
        }
    }
}
