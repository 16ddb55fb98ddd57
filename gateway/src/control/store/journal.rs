//! Begins of sessions, before the database has them. A line in a file costs a system call, a commit costs tens of
//! them and the way to SQLite's thread and back; so a client is let in when its line is written, and lines are
//! committed together, a moment later. What a daemon did not live to commit, the next one reads here.
//!
//! Two files, the volumes, take turns: one is written while what stands in the other is committed, and is emptied
//! then. So a line is not older than the last commit but one, and of the few that are committed already and still
//! there, nothing is done twice. As SQLite's own log in its mode NORMAL, a line outlives the daemon, and is not
//! forced to the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tracing::warn;

/// A session that begins: its id, the SHA-256 of its ticket in hexadecimal, ids of broker and instance, protocol,
/// client, and when it began, in milliseconds since 1970. In JSON, a row of the statement that records it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begin(
    pub(super) String,
    pub(super) Option<String>,
    pub(super) String,
    pub(super) String,
    pub(super) String,
    pub(super) String,
    pub(super) i64,
);

/// A volume that is longer is written no more before it is emptied: a store that cannot follow is waited for.
const LONGEST: u64 = 256 * 1024;

/// A line that the database has not yet.
#[derive(Debug)]
pub(super) struct Record {
    /// The session's id.
    pub(super) key: String,
    /// As JSON.
    pub(super) row: String,
    volume: usize,
}

/// The volumes, and what the database is to be told.
#[derive(Debug)]
pub(super) struct Journal(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    volumes: [Volume; 2],
    /// The one that is written.
    current: usize,
    waiting: Vec<Record>,
    /// The database did not take what it was told last.
    in_doubt: bool,
}

#[derive(Debug)]
struct Volume {
    file: File,
    len: u64,
    /// Lines that the database has not yet.
    owed: usize,
    /// What it says at its end is not sure.
    torn: bool,
}

impl Volume {
    /// Whether a line at its end is read again.
    fn has_room(&mut self) -> bool {
        if self.torn && self.owed == 0 {
            self.empty();
        }
        !self.torn && self.len <= LONGEST
    }

    fn write(&mut self, row: &str) -> bool {
        let line = format!("{row}\n");
        // In one call: two would be a line that others can come into.
        self.torn |= !matches!(self.file.write(line.as_bytes()), Ok(len) if len == line.len());
        self.len += line.len() as u64;
        !self.torn
    }

    fn empty(&mut self) {
        self.torn = self.file.set_len(0).is_err();
        if !self.torn {
            self.len = 0;
        }
    }
}

impl Journal {
    /// Opens the journal of the database at `store`, and returns what stands in it. It stays there until
    /// [`Self::clear`].
    ///
    /// # Errors
    /// A volume can not be made, read or written.
    pub(super) fn open(store: &Path) -> io::Result<(Self, Vec<Begin>)> {
        let mut begins = Vec::new();
        let mut open = |name| {
            let path = beside(store, name);
            // Named after the session's ticket, if only by its hash.
            let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path)?;
            let text = io::read_to_string(&file)?;
            begins.extend(text.lines().filter_map(|line| match serde_json::from_str(line) {
                Ok(begin) => Some(begin),
                Err(error) => {
                    // Its client heard nothing: the line was not written to its end.
                    warn!(file = %path.display(), %error, "not a session that began");
                    None
                }
            }));
            Ok::<_, io::Error>(Volume { file, len: text.len() as u64, owed: 0, torn: false })
        };
        let volumes = [open("-begun-0")?, open("-begun-1")?];
        let inner = Inner { volumes, current: 0, waiting: Vec::new(), in_doubt: false };
        Ok((Self(Mutex::new(inner)), begins))
    }

    /// Empties it: all that stood in it is in the database.
    pub(super) fn clear(&self) {
        self.lock().volumes.iter_mut().for_each(Volume::empty);
    }

    /// Writes a line, for the database to be told of when it is told something else. Returns `false` where that is
    /// not sure to last, or not sure to become true: the database itself has to be asked then.
    pub(super) fn write(&self, key: &str, row: &str) -> bool {
        let mut inner = self.lock();
        let (in_doubt, volume) = (inner.in_doubt, inner.current);
        let current = &mut inner.volumes[volume];
        if in_doubt || !current.has_room() || !current.write(row) {
            return false;
        }
        current.owed += 1;
        inner.waiting.push(Record { key: key.to_owned(), row: row.to_owned(), volume });
        true
    }

    /// What the database is to be told, in its order. What comes now goes to the other volume, if that is empty.
    pub(super) fn take(&self) -> Vec<Record> {
        let mut inner = self.lock();
        let other = 1 - inner.current;
        if inner.volumes[other].owed == 0 {
            inner.current = other;
        }
        std::mem::take(&mut inner.waiting)
    }

    /// The database has the line, or will never have it.
    pub(super) fn done(&self, record: &Record) {
        let mut inner = self.lock();
        let volume = &mut inner.volumes[record.volume];
        volume.owed -= 1;
        if volume.owed == 0 {
            volume.empty();
        }
    }

    /// Notes whether the database takes what it is told.
    pub(super) fn doubt(&self, in_doubt: bool) {
        self.lock().in_doubt = in_doubt;
    }

    /// Whether the database has every line.
    pub(super) fn is_settled(&self) -> bool {
        self.lock().volumes.iter().all(|volume| volume.owed == 0)
    }

    /// The state is whole wherever a panic could happen.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// SQLite names what belongs to a database in this way, too.
fn beside(store: &Path, suffix: &str) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(number: u32) -> Begin {
        let [session, broker, instance] = ["s", "b", "i"].map(|kind| format!("{kind}-{number}"));
        Begin(session, Some("07".repeat(32)), broker, instance, "vnc".into(), "::1".into(), 1_000)
    }

    fn write(journal: &Journal, number: u32) -> bool {
        journal.write(&format!("s-{number}"), &serde_json::to_string(&begin(number)).expect("JSON"))
    }

    fn reopened(store: &Path) -> Vec<Begin> {
        Journal::open(store).expect("opens again").1
    }

    #[test]
    fn what_the_database_has_not_stands_in_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path().join("store.db");
        let (journal, begins) = Journal::open(&store).expect("opens");
        assert_eq!(begins, []);
        assert!(write(&journal, 1) && write(&journal, 2));
        let lines = journal.take();
        assert_eq!(lines.iter().map(|line| line.key.as_str()).collect::<Vec<_>>(), ["s-1", "s-2"]);
        assert!(write(&journal, 3) && !journal.is_settled());
        assert_eq!(reopened(&store), [begin(1), begin(2), begin(3)]);
        journal.done(&lines[0]);
        assert_eq!(reopened(&store).len(), 3);
        journal.done(&lines[1]);
        assert_eq!(reopened(&store), [begin(3)]);
        journal.take().iter().for_each(|line| journal.done(line));
        assert_eq!(reopened(&store), []);
        assert!(journal.is_settled());
    }

    #[test]
    fn a_database_that_does_not_follow_is_asked_itself() {
        let folder = tempfile::tempdir().expect("a folder");
        let (journal, _) = Journal::open(&folder.path().join("store.db")).expect("opens");
        let first = (0..10_000).take_while(|number| write(&journal, *number)).count();
        assert!((1_000..9_000).contains(&first), "{first}");
        let lines = journal.take();
        assert!(write(&journal, 1), "the other volume is empty");
        journal.doubt(true);
        assert!(!write(&journal, 2));
        journal.doubt(false);
        let second = (0..10_000).take_while(|number| write(&journal, *number)).count();
        assert!(journal.take().len() > second && !write(&journal, 3), "the first volume is not committed");
        lines.iter().for_each(|line| journal.done(line));
        assert!(journal.take().is_empty() && write(&journal, 3), "it is");
    }

    #[test]
    fn a_line_that_was_not_written_to_its_end_is_left_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path().join("store.db");
        let whole = serde_json::to_string(&begin(1)).expect("JSON");
        for len in 1..whole.len() {
            std::fs::write(beside(&store, "-begun-1"), format!("{whole}\n{}", &whole[..len]))
                .expect("writes");
            assert_eq!(reopened(&store), [begin(1)]);
        }
    }

    #[test]
    fn a_disk_that_is_full_is_no_place_for_a_line_until_it_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path().join("store.db");
        let (journal, _) = Journal::open(&store).expect("opens");
        let full = OpenOptions::new().write(true).open("/dev/full").expect("is always full");
        let whole = std::mem::replace(&mut journal.lock().volumes[0].file, full);
        assert!(!write(&journal, 1) && !write(&journal, 1) && journal.is_settled());
        // Half of a line, as the disk had room for.
        (&whole).write_all(b"[\"s-1\",").expect("writes");
        journal.lock().volumes[0].file = whole;
        assert!(write(&journal, 2));
        assert_eq!(reopened(&store), [begin(2)]);
    }
}
