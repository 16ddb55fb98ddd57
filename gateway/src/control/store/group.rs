//! Group commit: what comes while a commit runs is committed together, by one statement of each kind, in one
//! question to the connection. Each caller has its own answer, after the commit; what is in the journal goes along.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tracing::{error, warn};

use super::StoreError;
use super::connection::Line;
use super::journal::{Begin, Journal, Record};

/// What is done together. Rows are JSON arrays; an array of them is a statement's one parameter, so that a
/// statement is the same for any number of rows, and prepared once. `jsonb_each` hands each on as it was parsed
/// (SQLite 3.51); `json_each` would print it, to be parsed again for what is taken of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    FindInstance,
    AddBroker,
    CloseBroker,
    /// The begin of a session that is in already.
    RecordSession,
    BeginSession,
    EndSession,
}

impl Kind {
    /// In the order in which they are done. Reads come first, outside of the transaction: one that fails has
    /// changed nothing.
    const ALL: [Self; 6] = [
        Self::FindInstance,
        Self::AddBroker,
        Self::CloseBroker,
        Self::RecordSession,
        Self::BeginSession,
        Self::EndSession,
    ];

    const fn reads(self) -> bool {
        matches!(self, Self::FindInstance)
    }

    /// For messages.
    const fn what(self) -> &'static str {
        match self {
            Self::FindInstance => "read instance",
            Self::AddBroker => "add broker",
            Self::CloseBroker => "close broker",
            Self::RecordSession => "record session",
            Self::BeginSession => "begin session",
            Self::EndSession => "end session",
        }
    }

    /// Its parameter is the one with the kind's number. Rows that it returns begin with that number and the key.
    const fn statements(self) -> &'static str {
        match self {
            Self::FindInstance => super::instance::FIND,
            Self::AddBroker => super::broker::ADD,
            Self::CloseBroker => super::broker::CLOSE,
            Self::RecordSession => super::session::RECORD,
            Self::BeginSession => super::session::BEGIN,
            Self::EndSession => super::session::END,
        }
    }
}

/// Who is told a row's answer: what its statement returned for its key, if anything. Must not wait.
type Told = Box<dyn FnOnce(Result<Option<SqliteRow>, StoreError>) + Send>;

enum Work {
    /// Somebody waits for it.
    Asked {
        kind: Kind,
        /// The id of what is written or read.
        key: String,
        row: String,
        told: Told,
    },
    /// A session that is in the journal.
    Journaled(Record),
    /// Nothing, but all that was told before is done with it.
    Settle(oneshot::Sender<Result<(), StoreError>>),
}

impl Work {
    fn part(&self) -> Option<(Kind, &String, &str)> {
        match self {
            Self::Asked { kind, key, row, .. } => Some((*kind, key, row)),
            Self::Journaled(Record { key, row, .. }) => Some((Kind::RecordSession, key, row)),
            Self::Settle(_) => None,
        }
    }

    fn done(self, rows: &mut Rows, journal: &Journal) {
        match self {
            Self::Asked { kind, key, told, .. } => {
                told(Ok(rows.get_mut(&(kind as i64, key)).and_then(Vec::pop)));
            }
            Self::Journaled(record) => journal.done(&record),
            Self::Settle(told) => {
                // A caller that gave up does not wait for its answer.
                let _ = told.send(Ok(()));
            }
        }
    }

    /// Nobody is left to tell what is in the journal: it is returned.
    fn failed(self, cause: &Arc<sqlx::Error>) -> Option<Record> {
        let failed = |what| StoreError { what, cause: cause.clone() };
        match self {
            Self::Asked { kind, told, .. } => told(Err(failed(kind.what()))),
            Self::Journaled(record) => return Some(record),
            Self::Settle(told) => {
                let _ = told.send(Err(failed("settle")));
            }
        }
        None
    }
}

/// Where work is handed in. Clones lead to the same writer.
#[derive(Clone, Debug)]
pub(super) struct Group {
    queue: mpsc::UnboundedSender<Work>,
    journal: Arc<Journal>,
}

/// Most rows of one commit that somebody waits for: what is read meanwhile waits for it.
const MOST: usize = 512;
/// Pause before the database is told again what it did not take, unless somebody asks it something.
const AGAIN: Duration = Duration::from_secs(1);

impl Group {
    /// Starts the writer, which ends with the last handle.
    pub(super) fn start(line: Line, journal: Journal) -> Self {
        let (group, queue) = mpsc::unbounded_channel();
        let journal = Arc::new(journal);
        tokio::spawn(write(line, queue, journal.clone()));
        Self { queue: group, journal }
    }

    /// Has the session `key` recorded: by the journal, and the database hears of it with what it is told next; by the
    /// database itself where the journal is not sure, or it is not the `first` connection, which comes behind the
    /// first then. `told` as in [`Self::tell`], and `true` if it begins.
    pub(super) fn begin(
        &self,
        key: String,
        row: String,
        first: bool,
        told: impl FnOnce(Result<bool, StoreError>) + Send + 'static,
    ) {
        // Without a handle on the journal, which is not to hold itself.
        let queue = self.queue.clone();
        let answered = move |written| match written {
            Ok(()) => told(Ok(true)),
            Err((key, row)) => {
                tell(&queue, Kind::BeginSession, key, row, |begun| told(begun.map(|row| row.is_some())));
            }
        };
        if first {
            self.journal.write((key, row), answered);
        } else {
            self.journal.pass((key, row), answered);
        }
    }

    /// Ends the journal. May wait for the disk.
    pub(super) fn close(&self) {
        self.journal.close();
    }

    /// Whether the database has all that is in the journal.
    pub(super) fn is_settled(&self) -> bool {
        self.journal.is_settled()
    }

    /// Waits until all that was told before is done.
    ///
    /// # Errors
    /// The database does not take it. What is in the journal is told to it again.
    pub(super) async fn settle(&self) -> Result<(), StoreError> {
        if self.is_settled() {
            return Ok(());
        }
        let (told, settled) = oneshot::channel();
        let closed = || StoreError { what: "settle", cause: Arc::new(sqlx::Error::PoolClosed) };
        self.queue.send(Work::Settle(told)).map_err(|_| closed())?;
        settled.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Does it, together with what else waits. Returns the row that it brought.
    pub(super) async fn ask(
        &self,
        kind: Kind,
        key: &str,
        row: &impl serde::Serialize,
    ) -> Result<Option<SqliteRow>, StoreError> {
        let (answer, answered) = oneshot::channel();
        let told = |told| {
            // A caller that gave up does not wait for its answer.
            let _ = answer.send(told);
        };
        match serde_json::to_string(row) {
            Ok(row) => self.tell(kind, key, row, told),
            Err(error) => {
                return Err(StoreError {
                    what: kind.what(),
                    cause: Arc::new(sqlx::Error::Encode(error.into())),
                });
            }
        }
        let closed = StoreError { what: kind.what(), cause: Arc::new(sqlx::Error::PoolClosed) };
        answered.await.unwrap_or(Err(closed))
    }

    /// As [`Self::ask`], for any thread: `told` gets the answer on the writer's, or here where there is no writer,
    /// and is dropped where the writer ends before.
    pub(super) fn tell(
        &self,
        kind: Kind,
        key: &str,
        row: String,
        told: impl FnOnce(Result<Option<SqliteRow>, StoreError>) + Send + 'static,
    ) {
        tell(&self.queue, kind, key.to_owned(), row, told);
    }
}

fn tell(
    queue: &mpsc::UnboundedSender<Work>,
    kind: Kind,
    key: String,
    row: String,
    told: impl FnOnce(Result<Option<SqliteRow>, StoreError>) + Send + 'static,
) {
    if let Err(unsent) = queue.send(Work::Asked { kind, key, row, told: Box::new(told) }) {
        unsent.0.failed(&Arc::new(sqlx::Error::PoolClosed));
    }
}

async fn write(line: Line, mut queue: mpsc::UnboundedReceiver<Work>, journal: Arc<Journal>) {
    let mut waiting: Vec<Work> = Vec::new();
    // What the database did not take, though its clients are in.
    let mut owed: Vec<Work> = Vec::new();
    loop {
        let room = MOST.saturating_sub(waiting.len());
        let mut more = Vec::new();
        if waiting.is_empty() {
            tokio::select! {
                count = queue.recv_many(&mut more, room) => {
                    if count == 0 {
                        break;
                    }
                }
                () = sleep(AGAIN), if !owed.is_empty() => {}
            }
        } else {
            more.extend(std::iter::from_fn(|| queue.try_recv().ok()).take(room));
        }
        // What is told of a session is told after its line was written, and is to be done after it.
        waiting.extend(journal.take().into_iter().map(Work::Journaled));
        waiting.append(&mut more);
        drop(waiting.splice(..0, owed.drain(..)));
        let batch = waiting.drain(..independent(&waiting)).collect();
        let left = commit(&line, batch, &journal).await;
        owed.extend(left.into_iter().map(Work::Journaled));
    }
}

/// How many, from the first on, may be done in the order of their kinds: no two write the same, unless the later one's
/// kind is a later one.
fn independent(waiting: &[Work]) -> usize {
    let mut written = HashMap::new();
    for (at, work) in waiting.iter().enumerate() {
        let Some((kind, key, _)) = work.part() else { continue };
        if !kind.reads() && written.insert(key, kind).is_some_and(|before| before >= kind) {
            return at;
        }
    }
    waiting.len()
}

/// Returns what is in the journal and was not taken.
async fn commit(line: &Line, batch: Vec<Work>, journal: &Journal) -> Vec<Record> {
    let parameters = parameters(&batch);
    let done = if parameters.iter().all(Option::is_none) {
        Ok(Rows::new())
    } else {
        let writes = Kind::ALL.iter().zip(&parameters).any(|(kind, rows)| !kind.reads() && rows.is_some());
        let done = run(line, parameters).await;
        match &done {
            Err(error) if !is_of_a_row(error) => journal.doubt(true),
            // Who can be read may still not be written.
            _ if writes => journal.doubt(false),
            _ => {}
        }
        done
    };
    match done {
        Ok(mut rows) => {
            batch.into_iter().for_each(|work| work.done(&mut rows, journal));
            Vec::new()
        }
        Err(error) if is_of_a_row(&error) && batch.len() > 1 => {
            // Nothing of it was written. One row's failure is not another's.
            let mut left = Vec::new();
            for work in batch {
                left.append(&mut Box::pin(commit(line, vec![work], journal)).await);
            }
            left
        }
        Err(error) => {
            let is_of_a_row = is_of_a_row(&error);
            let error = Arc::new(error);
            let left: Vec<_> = batch.into_iter().filter_map(|work| work.failed(&error)).collect();
            if !is_of_a_row {
                if !left.is_empty() {
                    warn!(sessions = left.len(), %error, "begins of sessions not recorded, to be tried again");
                }
                return left;
            }
            for record in left {
                error!(session_id = record.key, %error, "begin of a session not recorded");
                journal.done(&record);
            }
            Vec::new()
        }
    }
}

/// Whether other rows may do better. What is wrong with the file, the disk or a lock would be so for each of
/// them, and each would wait for it anew.
fn is_of_a_row(error: &sqlx::Error) -> bool {
    // SQLITE_ERROR, SQLITE_TOOBIG, SQLITE_CONSTRAINT, SQLITE_MISMATCH; the low byte of an extended code is the
    // code itself (https://sqlite.org/rescode.html).
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
    code.is_some_and(|code| matches!(code & 0xff, 1 | 18 | 19 | 20))
}

/// Tells the database what the journal of a daemon before this one says.
pub(super) async fn record(line: &Line, begins: &[Begin]) -> Result<(), sqlx::Error> {
    let rows = begins.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>();
    let rows = rows.map_err(|error| sqlx::Error::Encode(error.into()))?;
    if let Some(rows) = array(rows.iter().map(String::as_str)) {
        run(line, Kind::ALL.map(|kind| (kind == Kind::RecordSession).then(|| rows.clone()))).await?;
    }
    Ok(())
}

/// The rows that came back, by kind and key.
type Rows = HashMap<(i64, String), Vec<SqliteRow>>;

/// All of it, or nothing: the rows of each kind.
async fn run(line: &Line, parameters: [Option<String>; Kind::ALL.len()]) -> Result<Rows, sqlx::Error> {
    let wanted = |reads: bool| {
        let kinds = Kind::ALL.into_iter().zip(&parameters);
        kinds
            .filter(move |(kind, rows)| rows.is_some() && kind.reads() == reads)
            .map(|(kind, _)| kind.statements())
    };
    let mut text: String = wanted(true).collect();
    let writes: String = wanted(false).collect();
    if !writes.is_empty() {
        text += &format!("BEGIN IMMEDIATE;{writes}COMMIT");
    }
    let mut query = sqlx::query(sqlx::AssertSqlSafe(text));
    for rows in parameters {
        query = query.bind(rows);
    }
    let mut turn = line.turn().await?;
    let found = match query.fetch_all(&mut *turn).await {
        Ok(found) => found,
        Err(error) => {
            // After an error SQLite may have rolled back or not.
            turn.discard();
            return Err(error);
        }
    };
    drop(turn);
    let mut rows = Rows::new();
    for row in found {
        rows.entry((row.try_get(0)?, row.try_get(1)?)).or_default().push(row);
    }
    Ok(rows)
}

/// The rows of each kind, if there are any. What begins and ends in one batch is one row: it is written once.
fn parameters(batch: &[Work]) -> [Option<String>; Kind::ALL.len()] {
    let of = |wanted| batch.iter().filter_map(Work::part).filter(move |(kind, ..)| *kind == wanted);
    let mut ends: HashMap<&String, &str> = of(Kind::EndSession).map(|(_, key, row)| (key, row)).collect();
    // A connection that came in between is to stay in between.
    let mut apart: Vec<_> = of(Kind::BeginSession).filter_map(|(_, key, _)| ends.remove_entry(key)).collect();
    let records: Vec<_> = of(Kind::RecordSession)
        .map(|(_, key, row)| ends.remove(key).map_or_else(|| Cow::from(row), |end| with_end(row, end).into()))
        .collect();
    apart.extend(ends);
    Kind::ALL.map(|kind| match kind {
        Kind::RecordSession => array(records.iter().map(AsRef::as_ref)),
        Kind::EndSession => array(apart.iter().map(|(_, row)| *row)),
        _ => array(of(kind).map(|(_, _, row)| row)),
    })
}

/// The row of a begin, and behind it that of its end but for the session's id, which it begins with.
fn with_end(begin: &str, end: &str) -> String {
    let (begin, (_, end)) = (begin.trim_end_matches(']'), end.split_once(',').unwrap_or_default());
    format!("{begin},{end}")
}

/// JSON values, as an array of them; `None` if there are none.
fn array<'a>(values: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut array = String::new();
    for value in values {
        array.push(if array.is_empty() { '[' } else { ',' });
        array.push_str(value);
    }
    (!array.is_empty()).then(|| array + "]")
}
