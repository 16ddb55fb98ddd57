//! Rows in and out. SQLite, with the schema of `gateway/migrations`; the times in it are the wall
//! clock and never a running deadline.

mod broker;
mod instance;
mod session;
#[cfg(test)]
mod tests;
mod transaction;

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

pub use broker::{BrokerRow, LastSession, Rest, TicketRow};
pub use instance::{Imported, InstanceRow};
pub use session::SessionRow;

/// The store cannot be read or written: what was tried, and why it failed.
#[derive(Debug, thiserror::Error)]
#[error("store: {what}: {cause}")]
pub struct StoreError {
    what: &'static str,
    cause: sqlx::Error,
}

fn failed(what: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |cause| StoreError { what, cause }
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

/// How long a request waits for the store.
const PATIENCE: Duration = Duration::from_secs(5);

/// The store. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    pool: SqlitePool,
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
            .busy_timeout(PATIENCE);
        // One writer at a time is all that SQLite has; one connection keeps requests in order instead of
        // letting them wait for each other's locks.
        let pool =
            SqlitePoolOptions::new().max_connections(1).acquire_timeout(PATIENCE).connect_with(options).await;
        let pool = pool.map_err(failed("open"))?;
        let migrated = sqlx::migrate!().run(&pool).await;
        migrated.map_err(|error| failed("bring the schema up to date")(error.into()))?;
        Ok(Self { pool })
    }

    /// Whether it can be read.
    pub async fn is_readable(&self) -> bool {
        sqlx::query("SELECT session_id FROM session LIMIT 1").fetch_optional(&self.pool).await.is_ok()
    }

    /// Writes what is pending and lets go of the file.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}
