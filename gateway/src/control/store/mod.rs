//! Rows in and out. SQLite, with the schema of `gateway/migrations`; the times in it are the wall
//! clock and never a running deadline.

mod broker;
mod connection;
mod group;
mod instance;
mod journal;
mod session;
#[cfg(test)]
mod tests;
mod transaction;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::query::Query;
use sqlx::sqlite::{
    Sqlite, SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqliteQueryResult, SqliteRow,
    SqliteSynchronous,
};

use connection::Line;
use group::Group;
use journal::Volumes;

pub use broker::{BrokerRow, LastSession, Rest, TicketRow};
pub use instance::{Imported, InstanceRow};
pub use session::SessionRow;

/// The store cannot be read or written: what was tried, and why it failed.
#[derive(Debug, thiserror::Error)]
#[error("store: {what}: {cause}")]
pub struct StoreError {
    what: &'static str,
    cause: Arc<sqlx::Error>,
}

fn failed(what: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |cause| StoreError { what, cause: Arc::new(cause) }
}

/// A time of the wall clock, in milliseconds since 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WallTime(pub i64);

impl WallTime {
    /// The present.
    pub fn now() -> Self {
        Self(jiff::Timestamp::now().as_millisecond())
    }

    /// `time` later.
    pub fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX)))
    }

    /// `time` earlier.
    pub fn before(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(time.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl std::fmt::Display for WallTime {
    /// RFC 3339, in whole seconds.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let time = jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::MAX);
        write!(f, "{time:.0}")
    }
}

/// Pages that SQLite keeps, in KiB below zero (`PRAGMA cache_size`). The system keeps the file's pages too, and
/// shares them.
const CACHE: &str = "-256";

/// How long a request waits for the store.
const PATIENCE: Duration = Duration::from_secs(5);

/// The store. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    line: Line,
    group: Group,
}

impl Store {
    /// Opens the file, makes it where there is none, and brings its schema up to date.
    ///
    /// # Errors
    /// The file is no database, locked, newer than this program, or cannot be written.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(PATIENCE)
            .pragma("cache_size", CACHE)
            .disable_statement_logging();
        let line = Line::new(options);
        let mut turn = line.turn().await.map_err(failed("open"))?;
        let migrated = sqlx::migrate!().run(&mut *turn).await;
        migrated.map_err(|error| failed("bring the schema up to date")(error.into()))?;
        drop(turn);
        let in_journal = |error: std::io::Error| failed("open the journal")(error.into());
        let (volumes, begins) = Volumes::open(path).map_err(in_journal)?;
        group::record(&line, &begins).await.map_err(failed("record what the journal has"))?;
        let journal = volumes.start().map_err(in_journal)?;
        Ok(Self { group: Group::start(line.clone(), journal), line })
    }

    /// Whether it can be read.
    pub async fn is_readable(&self) -> bool {
        self.row(sqlx::query("SELECT session_id FROM session LIMIT 1")).await.is_ok()
    }

    /// Writes what is pending and lets go of the file.
    pub async fn close(&self) {
        self.settle().await;
        let group = self.group.clone();
        // A panic there was reported by its hook.
        let _ = tokio::task::spawn_blocking(move || group.close()).await;
        self.line.close().await;
    }

    /// Has recorded what is in the journal only. Where the database does not take it now, it is told again.
    pub async fn settle(&self) {
        // What it said is in the log.
        let _ = self.group.settle().await;
    }

    async fn run(&self, query: Statement<'_>) -> Result<SqliteQueryResult, sqlx::Error> {
        query.execute(&mut *self.line.turn().await?).await
    }

    async fn rows(&self, query: Statement<'_>) -> Result<Vec<SqliteRow>, sqlx::Error> {
        query.fetch_all(&mut *self.line.turn().await?).await
    }

    async fn row(&self, query: Statement<'_>) -> Result<Option<SqliteRow>, sqlx::Error> {
        query.fetch_optional(&mut *self.line.turn().await?).await
    }
}

type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;
