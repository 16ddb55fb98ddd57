//! Begins of sessions, before the database has them. A line in a file costs one system call, a commit costs tens of
//! them; so a client is let in when its line is written, and lines are committed together, a moment later. What a
//! daemon did not live to commit, the next one reads here.
//!
//! Two files, the volumes, take turns: one is written while what stands in the other is committed, and is emptied
//! then. So a line is not older than the last commit but one, and of the few that are committed already and still
//! there, nothing is done twice. As SQLite's own log in its mode NORMAL, a line outlives the daemon, and is not
//! forced to the disk. A disk can make wait all the same: the files are written and emptied by a thread of their own,
//! and no lock is held meanwhile that anybody else takes.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

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
const LONGEST: usize = 256 * 1024;

/// A line that the database has not yet.
#[derive(Debug)]
pub(super) struct Record {
    /// The session's id.
    pub(super) key: String,
    /// As JSON.
    pub(super) row: String,
    volume: usize,
}

/// What is to be written: the session's id, and its row.
pub(super) type Asked = (String, String);

/// Who is told of a line: that it is written, or what was not written. Must not wait.
type Told = Box<dyn FnOnce(Result<(), Asked>) + Send>;

struct Line {
    asked: Asked,
    /// It is to be written.
    writes: bool,
    told: Told,
}

/// A journal that nobody writes yet: what stands in it stays there.
#[derive(Debug)]
pub(super) struct Volumes([Volume; 2]);

/// The volumes, and what the database is to be told.
#[derive(Debug)]
pub(super) struct Journal {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    state: Mutex<State>,
    /// There is something to do for the writer.
    work: Condvar,
}

struct State {
    /// Lines that are not written yet, and who is told.
    asked: Vec<Line>,
    volumes: [Volume; 2],
    /// The one that is written.
    current: usize,
    waiting: Vec<Record>,
    /// The database did not take what it was told last.
    in_doubt: bool,
    /// Nobody asks any more.
    closed: bool,
}

#[derive(Debug)]
struct Volume {
    file: Arc<File>,
    len: usize,
    /// Lines that the database has not yet, or that are being written.
    owed: usize,
    /// What it says at its end is not sure.
    torn: bool,
}

impl Volume {
    const fn is_to_be_emptied(&self) -> bool {
        self.owed == 0 && (self.torn || self.len > 0)
    }

    fn emptied(&mut self, is_empty: bool) {
        self.torn = !is_empty;
        if is_empty {
            self.len = 0;
        }
    }
}

impl Volumes {
    /// Opens the journal of the database at `store`, and returns what stands in it.
    ///
    /// # Errors
    /// A volume cannot be made or read.
    pub(super) fn open(store: &Path) -> io::Result<(Self, Vec<Begin>)> {
        let mut begins = Vec::new();
        let mut open = |name| {
            let path = beside(store, name);
            // It has hashes of tickets.
            let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path)?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            begins.extend(lines.filter_map(|line| match serde_json::from_slice(line) {
                Ok(begin) => Some(begin),
                Err(error) => {
                    // Its client heard nothing: the line was not written to its end.
                    warn!(file = %path.display(), %error, "not a session that began");
                    None
                }
            }));
            Ok::<_, io::Error>(Volume { file: Arc::new(file), len: bytes.len(), owed: 0, torn: false })
        };
        Ok((Self([open("-begun-0")?, open("-begun-1")?]), begins))
    }

    /// Begins to write it, when all that stands in it is in the database: it is emptied first.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn start(self) -> io::Result<Journal> {
        let state = State {
            asked: Vec::new(),
            volumes: self.0,
            current: 0,
            waiting: Vec::new(),
            in_doubt: false,
            closed: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), work: Condvar::new() });
        let writer = {
            let shared = shared.clone();
            thread::Builder::new().name("journal".into()).spawn(move || shared.write())?
        };
        Ok(Journal { shared, writer: Mutex::new(Some(writer)) })
    }
}

impl Journal {
    /// Has a line written, for the database to be told of when it is told something else. `told` gets it back where
    /// that is not sure to last, or not sure to become true: the database itself has to be asked then.
    pub(super) fn write(&self, asked: Asked, told: impl FnOnce(Result<(), Asked>) + Send + 'static) {
        self.ask(asked, true, told);
    }

    /// Gives back what is not to be written, behind all that is asked already.
    pub(super) fn pass(&self, asked: Asked, told: impl FnOnce(Result<(), Asked>) + Send + 'static) {
        self.ask(asked, false, told);
    }

    fn ask(&self, asked: Asked, writes: bool, told: impl FnOnce(Result<(), Asked>) + Send + 'static) {
        let mut state = self.shared.lock();
        if state.closed {
            drop(state);
            return told(Err(asked));
        }
        state.asked.push(Line { asked, writes, told: Box::new(told) });
        drop(state);
        self.shared.work.notify_one();
    }

    /// What the database is to be told, in its order. What comes now goes to the other volume, if that is empty.
    pub(super) fn take(&self) -> Vec<Record> {
        let mut state = self.shared.lock();
        let other = 1 - state.current;
        if state.volumes[other].owed == 0 {
            state.current = other;
        }
        std::mem::take(&mut state.waiting)
    }

    /// The database has the line, or will never have it.
    pub(super) fn done(&self, record: &Record) {
        let mut state = self.shared.lock();
        let volume = &mut state.volumes[record.volume];
        volume.owed -= 1;
        if volume.owed == 0 {
            drop(state);
            self.shared.work.notify_one();
        }
    }

    /// Notes whether the database takes what it is told.
    pub(super) fn doubt(&self, in_doubt: bool) {
        self.shared.lock().in_doubt = in_doubt;
    }

    /// Whether the database has every line.
    pub(super) fn is_settled(&self) -> bool {
        self.shared.lock().volumes.iter().all(|volume| volume.owed == 0)
    }

    /// Ends it, when what was asked is written, and what the database has is gone. May wait for the disk.
    pub(super) fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_one();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // A panic was reported by its hook.
            let _ = writer.join();
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // Nobody waits here for the disk: the thread ends by itself.
        self.shared.lock().closed = true;
        self.shared.work.notify_one();
    }
}

impl Shared {
    /// The state is whole wherever a panic could happen.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the thread does.
    fn write(&self) {
        let mut state = self.lock();
        loop {
            if let Some(at) = state.volumes.iter().position(Volume::is_to_be_emptied) {
                let file = state.volumes[at].file.clone();
                // Nothing is written meanwhile but by this thread.
                drop(state);
                let emptied = file.set_len(0);
                state = self.lock();
                state.volumes[at].emptied(emptied.is_ok());
                if emptied.is_ok() {
                    continue;
                }
            }
            if !state.asked.is_empty() {
                state = self.write_asked(state);
            } else if state.closed {
                return;
            } else {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// All lines that are asked for, in one call.
    fn write_asked<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let (at, in_doubt, asked) = (state.current, state.in_doubt, std::mem::take(&mut state.asked));
        let volume = &mut state.volumes[at];
        let may = !in_doubt && !volume.torn && volume.len <= LONGEST;
        let (lines, passed): (Vec<_>, Vec<_>) = asked.into_iter().partition(|line| line.writes && may);
        volume.owed += lines.len();
        let file = volume.file.clone();
        drop(state);
        let text: String = lines.iter().flat_map(|line| [&line.asked.1, "\n"]).collect();
        let is_written =
            text.is_empty() || matches!((&*file).write(text.as_bytes()), Ok(len) if len == text.len());
        let mut state = self.lock();
        let volume = &mut state.volumes[at];
        volume.len += text.len();
        if !is_written {
            volume.torn = true;
            volume.owed -= lines.len();
        }
        let mut answers = Vec::with_capacity(lines.len() + passed.len());
        for Line { asked, told, .. } in lines {
            if is_written {
                let (key, row) = asked;
                state.waiting.push(Record { key, row, volume: at });
                answers.push((told, Ok(())));
            } else {
                answers.push((told, Err(asked)));
            }
        }
        drop(state);
        answers.extend(passed.into_iter().map(|line| (line.told, Err(line.asked))));
        answers.into_iter().for_each(|(told, answer)| told(answer));
        self.lock()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared(..)")
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
    use std::sync::mpsc;

    use super::*;

    fn begin(number: u32) -> Begin {
        let [session, broker, instance] = ["s", "b", "i"].map(|kind| format!("{kind}-{number}"));
        Begin(session, Some("07".repeat(32)), broker, instance, "vnc".into(), "::1".into(), 1_000)
    }

    fn write(journal: &Journal, number: u32) -> bool {
        let (told, hears) = mpsc::channel();
        let row = serde_json::to_string(&begin(number)).expect("JSON");
        let asked = (format!("s-{number}"), row);
        journal.write(asked.clone(), move |written| told.send(written).expect("hears"));
        let written = hears.recv().expect("is told");
        assert!(written.is_ok() || written == Err(asked));
        written.is_ok()
    }

    fn opened(store: &Path) -> Journal {
        Volumes::open(store).expect("opens").0.start().expect("starts")
    }

    /// What another daemon would find now.
    fn found(store: &Path) -> Vec<Begin> {
        let volumes =
            ["-begun-0", "-begun-1"].map(|name| std::fs::read(beside(store, name)).expect("a volume"));
        let lines = volumes.iter().flat_map(|volume| volume.split_inclusive(|byte| *byte == b'\n'));
        lines.map(|line| serde_json::from_slice(line).expect("a line")).collect()
    }

    /// Waits until another daemon would find as many as that.
    fn finds(store: &Path, begins: &[Begin]) {
        let began = std::time::Instant::now();
        while found(store) != begins {
            assert!(began.elapsed().as_secs() < 60, "{:?}", found(store));
            thread::yield_now();
        }
    }

    #[test]
    fn what_the_database_has_not_stands_in_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path().join("store.db");
        let journal = opened(&store);
        assert!(write(&journal, 1) && write(&journal, 2));
        let records = journal.take();
        assert_eq!(records.iter().map(|record| record.key.as_str()).collect::<Vec<_>>(), ["s-1", "s-2"]);
        assert!(write(&journal, 3) && !journal.is_settled());
        let mut all = found(&store);
        all.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(all, [begin(1), begin(2), begin(3)]);
        journal.done(&records[0]);
        assert_eq!(found(&store).len(), 3);
        journal.done(&records[1]);
        finds(&store, &[begin(3)]);
        journal.take().iter().for_each(|record| journal.done(record));
        finds(&store, &[]);
        assert!(journal.is_settled());
    }

    #[test]
    fn what_is_asked_for_at_once_is_written_to_the_last_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path().join("store.db");
        let journal = opened(&store);
        thread::scope(|scope| {
            for part in 0..4 {
                let journal = &journal;
                scope.spawn(move || (0..100).for_each(|number| assert!(write(journal, 100 * part + number))));
            }
        });
        journal.close();
        assert!(!write(&journal, 1));
        let (again, mut begins) = Volumes::open(&store).expect("opens again");
        begins.sort_by_key(|begin| begin.0[2..].parse::<u32>().expect("a number"));
        assert_eq!(begins, (0..400).map(begin).collect::<Vec<_>>());
        assert_eq!(found(&store).len(), 400, "nobody said that the database has them");
        again.start().expect("starts").close();
        assert_eq!(found(&store), []);
    }

    #[test]
    fn what_is_passed_comes_behind_what_is_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path().join("store.db");
        let journal = Arc::new(opened(&store));
        for number in 0..100 {
            let (told, hears) = mpsc::channel();
            let asked = (format!("s-{number}"), serde_json::to_string(&begin(number)).expect("JSON"));
            journal.write(asked.clone(), |written| assert_eq!(written, Ok(())));
            let again = asked.clone();
            let there = journal.clone();
            journal.pass(again, move |passed| told.send((passed, there.take())).expect("hears"));
            let (passed, records) = hears.recv().expect("is told");
            assert_eq!(passed, Err(asked.clone()));
            assert_eq!(records.iter().map(|record| &record.key).collect::<Vec<_>>(), [&asked.0]);
        }
    }

    #[test]
    fn a_database_that_does_not_follow_is_asked_itself() {
        let folder = tempfile::tempdir().expect("a folder");
        let journal = opened(&folder.path().join("store.db"));
        let first = (0..10_000).take_while(|number| write(&journal, *number)).count();
        assert!((1_000..9_000).contains(&first), "{first}");
        let records = journal.take();
        assert!(write(&journal, 1), "the other volume is empty");
        journal.doubt(true);
        assert!(!write(&journal, 2));
        journal.doubt(false);
        let second = (0..10_000).take_while(|number| write(&journal, *number)).count();
        assert!(journal.take().len() > second && !write(&journal, 3), "the first volume is not committed");
        records.iter().for_each(|record| journal.done(record));
        assert!(journal.take().is_empty() && write(&journal, 3), "it is");
    }

    #[test]
    fn a_line_that_was_not_written_to_its_end_is_left_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path().join("store.db");
        let whole = serde_json::to_string(&begin(1)).expect("JSON").into_bytes();
        let halves = (1..whole.len()).map(|len| whole[..len].to_vec());
        for rest in halves.chain([vec![0; 4096], vec![0xff, b'\n', 0xfe]]) {
            std::fs::write(beside(&store, "-begun-1"), [&whole, &b"\n"[..], &rest].concat()).expect("writes");
            assert_eq!(Volumes::open(&store).expect("opens").1, [begin(1)]);
        }
    }

    #[test]
    fn a_disk_that_is_full_is_no_place_for_a_line_until_it_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path().join("store.db");
        let journal = opened(&store);
        let full = OpenOptions::new().write(true).open("/dev/full").expect("is always full");
        let whole = std::mem::replace(&mut journal.shared.lock().volumes[0].file, Arc::new(full));
        assert!(!write(&journal, 1) && !write(&journal, 1) && journal.is_settled());
        // Half of a line, as the disk had room for.
        (&*whole).write_all(b"[\"s-1\",").expect("writes");
        journal.shared.lock().volumes[0].file = whole;
        assert!(write(&journal, 2));
        assert_eq!(found(&store), [begin(2)]);
    }
}
