//! Group commit: what comes while a commit runs is committed together, by one statement of each kind, in one
//! question to the connection. Each caller has its own answer, after the commit.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use tokio::sync::{mpsc, oneshot};

use super::StoreError;
use super::connection::Line;

/// What is done together. Rows are JSON arrays; an array of them is a statement's one parameter, so that a
/// statement is the same for any number of rows, and prepared once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    FindInstance,
    AddBroker,
    CloseBroker,
    BeginSession,
    EndSession,
}

impl Kind {
    /// In the order in which they are done. Reads come first, outside of the transaction: one that fails has
    /// changed nothing.
    const ALL: [Self; 5] =
        [Self::FindInstance, Self::AddBroker, Self::CloseBroker, Self::BeginSession, Self::EndSession];

    const fn reads(self) -> bool {
        matches!(self, Self::FindInstance)
    }

    /// For messages.
    const fn what(self) -> &'static str {
        match self {
            Self::FindInstance => "read instance",
            Self::AddBroker => "add broker",
            Self::CloseBroker => "close broker",
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
            Self::BeginSession => super::session::BEGIN,
            Self::EndSession => super::session::END,
        }
    }
}

/// Who is told a row's answer: what its statement returned for its key, if anything. Must not wait.
type Told = Box<dyn FnOnce(Result<Option<SqliteRow>, StoreError>) + Send>;

struct Work {
    kind: Kind,
    /// The id of what is written or read.
    key: String,
    row: String,
    told: Told,
}

impl Work {
    fn failed(self, cause: Arc<sqlx::Error>) {
        (self.told)(Err(StoreError { what: self.kind.what(), cause }));
    }
}

/// Where work is handed in. Clones lead to the same writer.
#[derive(Clone, Debug)]
pub(super) struct Group(mpsc::UnboundedSender<Work>);

/// Most rows of one commit: what is read meanwhile waits for it.
const MOST: usize = 256;

impl Group {
    /// Starts the writer, which ends with the last handle.
    pub(super) fn start(line: Line) -> Self {
        let (group, mut queue) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut waiting = Vec::new();
            loop {
                if waiting.len() < MOST {
                    let room = MOST - waiting.len();
                    let mut more = Vec::new();
                    if waiting.is_empty() {
                        queue.recv_many(&mut more, room).await;
                    } else {
                        more.extend(std::iter::from_fn(|| queue.try_recv().ok()).take(room));
                    }
                    waiting.append(&mut more);
                }
                if waiting.is_empty() {
                    break;
                }
                let batch = waiting.drain(..independent(&waiting)).collect();
                commit(&line, batch).await;
            }
        });
        Self(group)
    }

    /// Does it, together with what else waits. Returns the row that it brought.
    pub(super) async fn ask(
        &self,
        kind: Kind,
        key: &str,
        row: &impl serde::Serialize,
    ) -> Result<Option<SqliteRow>, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.tell(kind, key, row, |told| {
            // A caller that gave up does not wait for its answer.
            let _ = answer.send(told);
        });
        let closed = StoreError { what: kind.what(), cause: Arc::new(sqlx::Error::PoolClosed) };
        answered.await.unwrap_or(Err(closed))
    }

    /// As [`Self::ask`], for any thread: `told` gets the answer on the writer's, or here where there is no writer,
    /// and is dropped where the writer ends before.
    pub(super) fn tell(
        &self,
        kind: Kind,
        key: &str,
        row: &impl serde::Serialize,
        told: impl FnOnce(Result<Option<SqliteRow>, StoreError>) + Send + 'static,
    ) {
        let (key, told) = (key.to_owned(), Box::new(told));
        match serde_json::to_string(row) {
            Ok(row) => {
                if let Err(unsent) = self.0.send(Work { kind, key, row, told }) {
                    unsent.0.failed(Arc::new(sqlx::Error::PoolClosed));
                }
            }
            Err(error) => {
                let row = String::new();
                Work { kind, key, row, told }.failed(Arc::new(sqlx::Error::Encode(error.into())));
            }
        }
    }
}

/// How many, from the first on, may be done in any order: no two write the same.
fn independent(waiting: &[Work]) -> usize {
    let mut written = HashSet::new();
    for (at, work) in waiting.iter().enumerate() {
        if !work.kind.reads() && !written.insert(&work.key) {
            return at;
        }
    }
    waiting.len()
}

async fn commit(line: &Line, batch: Vec<Work>) {
    let parameters = Kind::ALL.map(|kind| parameter(&batch, kind));
    match run(line, parameters).await {
        Ok(mut rows) => {
            for Work { kind, key, told, .. } in batch {
                told(Ok(rows.get_mut(&(kind as i64, key)).and_then(Vec::pop)));
            }
        }
        Err(error) if batch.len() > 1 && is_of_a_row(&error) => {
            // Nothing of it was written. One row's failure is not another's.
            for work in batch {
                Box::pin(commit(line, vec![work])).await;
            }
        }
        Err(error) => {
            let error = Arc::new(error);
            for work in batch {
                work.failed(error.clone());
            }
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

/// The rows of a kind, if there are any.
fn parameter(batch: &[Work], kind: Kind) -> Option<String> {
    let mut rows = batch.iter().filter(|work| work.kind == kind).map(|work| work.row.as_str()).peekable();
    rows.peek()?;
    let mut array = String::from("[");
    for (at, row) in rows.enumerate() {
        if at > 0 {
            array.push(',');
        }
        array.push_str(row);
    }
    array.push(']');
    Some(array)
}
