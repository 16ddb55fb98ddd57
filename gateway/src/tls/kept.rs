//! What is made of files, and made anew when they change: a certificate that was renewed is shown from the next
//! handshake on, and no session notices.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::TlsError;

/// A value that follows its files.
pub struct Kept<T> {
    files: Vec<PathBuf>,
    make: Box<dyn Fn() -> Result<Arc<T>, TlsError> + Send + Sync>,
    current: RwLock<Arc<T>>,
    looked: Mutex<Looked>,
}

/// What was seen of the files.
struct Looked {
    /// When the value was made of them, or could not be.
    made: Vec<Option<Stamp>>,
    /// The last time.
    last: Vec<Option<Stamp>>,
}

/// What differs in a file that was written over, or put in another's place: device, inode, size, time of change.
type Stamp = (u64, u64, u64, i64, i64);

/// Something to look after.
pub trait Look: Send + Sync {
    /// Makes the value anew if its files have changed, and then stayed as they are from one look to the next:
    /// certificate and key are two files, and one is written first. `None` where nothing is to do.
    ///
    /// # Errors
    /// The files are no good. What was made of those before stays, until they change again.
    fn look(&self) -> Option<Result<(), TlsError>>;
}

impl<T: Send + Sync> Kept<T> {
    /// What `make` makes of `files`.
    ///
    /// # Errors
    /// It cannot.
    pub fn new(
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<Arc<T>, TlsError> + Send + Sync + 'static,
    ) -> Result<Arc<Self>, TlsError> {
        // Before they are read: what changes meanwhile is seen at the next look.
        let made = stamps(&files);
        let current = RwLock::new(make()?);
        let looked = Mutex::new(Looked { last: made.clone(), made });
        Ok(Arc::new(Self { files, make: Box::new(make), current, looked }))
    }

    /// What follows no file.
    pub fn fixed(value: Arc<T>) -> Arc<Self>
    where
        T: 'static,
    {
        let made = value.clone();
        let looked = Mutex::new(Looked { made: Vec::new(), last: Vec::new() });
        let make = Box::new(move || Ok(made.clone()));
        Arc::new(Self { files: Vec::new(), make, current: RwLock::new(value), looked })
    }

    /// The value as of now.
    pub fn current(&self) -> Arc<T> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<T: Send + Sync> Look for Kept<T> {
    fn look(&self) -> Option<Result<(), TlsError>> {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamps(&self.files);
        let is_quiet = std::mem::replace(&mut looked.last, now.clone()) == now;
        if !is_quiet || now == looked.made {
            return None;
        }
        looked.made = now;
        Some((self.make)().map(|made| *self.current.write().unwrap_or_else(PoisonError::into_inner) = made))
    }
}

impl<T> std::fmt::Debug for Kept<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").field("files", &self.files).finish_non_exhaustive()
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    let stamp = |file: &PathBuf| {
        let file = fs::metadata(file).ok()?;
        Some((file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec()))
    };
    files.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_good_is_taken_over_and_what_is_not_leaves_the_old() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("number");
        let write = |text: &str| {
            // As certbot and Kubernetes do it: another file takes the name.
            fs::write(folder.path().join("new"), text).expect("writes");
            fs::rename(folder.path().join("new"), &file).expect("renames");
        };
        let read = file.clone();
        let make = move || {
            let text = fs::read_to_string(&read).unwrap_or_default();
            text.parse::<u32>().map(Arc::new).map_err(|_| TlsError::Damaged { path: read.clone() })
        };
        write("x");
        assert!(Kept::new(vec![file.clone()], make.clone()).is_err());
        write("1");
        let kept = Kept::new(vec![file.clone()], make).expect("a number");
        assert!(kept.look().is_none() && *kept.current() == 1);
        for (written, good, value) in [("2", true, 2), ("x", false, 2), ("", false, 2), ("34", true, 34)] {
            write(written);
            assert!(kept.look().is_none(), "it may be under way still");
            assert_eq!(kept.look().map(|made| made.is_ok()), Some(good), "{written}");
            assert!(kept.look().is_none(), "told once");
            assert_eq!(*kept.current(), value);
        }
        fs::remove_file(&file).expect("removes");
        assert!(kept.look().is_none());
        assert_eq!(kept.look().map(|made| made.is_ok()), Some(false));
        assert_eq!(*kept.current(), 34);
    }
}
