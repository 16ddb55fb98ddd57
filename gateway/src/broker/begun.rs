//! The record that a connection came into a session, as long as it may have to be taken back.

use std::fmt;

/// Nobody is in yet. What is dropped before [`Begun::keep`], because whoever waited for it has gone, is
/// taken back.
pub struct Begun(Option<Box<dyn FnOnce(bool) + Send>>);

impl Begun {
    /// `settle` is told once whether the connection is in. It must not wait.
    pub fn new(settle: impl FnOnce(bool) + Send + 'static) -> Self {
        Self(Some(Box::new(settle)))
    }

    /// The connection is in: the record stands, and its ticket is used for good.
    pub fn keep(mut self) {
        self.settle(true);
    }

    fn settle(&mut self, is_in: bool) {
        if let Some(settle) = self.0.take() {
            settle(is_in);
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.settle(false);
    }
}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Begun(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn it_is_settled_once() {
        let (told, tells) = mpsc::channel();
        let begun = || {
            let told = told.clone();
            Begun::new(move |is_in| told.send(is_in).expect("heard"))
        };
        begun().keep();
        drop(begun());
        assert_eq!(tells.try_iter().collect::<Vec<_>>(), [true, false]);
    }
}
