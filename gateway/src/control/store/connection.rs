//! The connection, and whose turn it is. SQLite has one writer at a time: one connection that is handed on keeps
//! requests in order, instead of letting them wait for each other's locks. sqlx's pool would ask it whether it is
//! there before and after each use, and each such question costs as much as a statement.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection as _};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::timeout;

use super::PATIENCE;

/// The connection, or the way to a new one. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Line {
    options: SqliteConnectOptions,
    place: Arc<Mutex<Place>>,
}

#[derive(Debug)]
enum Place {
    Idle(SqliteConnection),
    /// The next to come makes one.
    Empty,
    Closed,
}

/// The connection, as long as it is somebody's turn.
#[derive(Debug)]
pub(super) struct Turn(OwnedMutexGuard<Place>);

impl Line {
    pub(super) fn new(options: SqliteConnectOptions) -> Self {
        Self { options, place: Arc::new(Mutex::new(Place::Empty)) }
    }

    /// How the connection is made.
    #[cfg(test)]
    pub(super) const fn options(&self) -> &SqliteConnectOptions {
        &self.options
    }

    /// Waits for its turn, [`PATIENCE`] at most.
    pub(super) async fn turn(&self) -> Result<Turn, sqlx::Error> {
        let place = timeout(PATIENCE, self.place.clone().lock_owned()).await;
        let mut place = place.map_err(|_| sqlx::Error::PoolTimedOut)?;
        match *place {
            Place::Idle(_) => {}
            Place::Empty => *place = Place::Idle(self.options.connect().await?),
            Place::Closed => return Err(sqlx::Error::PoolClosed),
        }
        Ok(Turn(place))
    }

    /// Nobody has a turn any more; what the connection has pending is written.
    pub(super) async fn close(&self) {
        if let Place::Idle(connection) = std::mem::replace(&mut *self.place.lock().await, Place::Closed) {
            // The file is whole without its last checkpoint too.
            let _ = connection.close().await;
        }
    }
}

impl Turn {
    /// Nobody knows what state the connection is in: the next to come gets a new one.
    pub(super) fn discard(mut self) {
        *self.0 = Place::Empty;
    }
}

const HELD: &str = "a turn begins with a connection, and ends without one";

impl Deref for Turn {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        let Place::Idle(connection) = &*self.0 else { unreachable!("{HELD}") };
        connection
    }
}

impl DerefMut for Turn {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        let Place::Idle(connection) = &mut *self.0 else { unreachable!("{HELD}") };
        connection
    }
}
