//! Transactions. sqlx has its own, which count how deep they are nested and lose count when SQLite, as it
//! does on a full disk, has rolled back by itself: what is "committed" afterwards is never written.

use std::ops::{Deref, DerefMut};

use sqlx::sqlite::SqliteConnection;

use super::Store;
use super::connection::Turn;

/// A transaction. What is neither committed nor rolled back takes its connection with it, whatever state
/// that is in; the next one to ask gets a new connection.
pub(super) struct Transaction {
    /// `None` at its end.
    turn: Option<Turn>,
}

impl Store {
    /// Begins to write. Nobody else does until the end.
    pub(super) async fn write(&self) -> Result<Transaction, sqlx::Error> {
        self.begin("BEGIN IMMEDIATE").await
    }

    /// Begins to read; what is read is of one moment.
    pub(super) async fn look(&self) -> Result<Transaction, sqlx::Error> {
        self.begin("BEGIN").await
    }

    async fn begin(&self, how: &'static str) -> Result<Transaction, sqlx::Error> {
        let mut transaction = Transaction { turn: Some(self.line.turn().await?) };
        sqlx::query(how).execute(&mut *transaction).await?;
        Ok(transaction)
    }
}

impl Transaction {
    /// Makes it last.
    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        self.end("COMMIT").await
    }

    /// Takes it back.
    pub(super) async fn rollback(self) -> Result<(), sqlx::Error> {
        self.end("ROLLBACK").await
    }

    async fn end(mut self, how: &'static str) -> Result<(), sqlx::Error> {
        sqlx::query(how).execute(&mut *self).await?;
        // The connection is whole again, for the next to come.
        drop(self.turn.take());
        Ok(())
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Some(turn) = self.turn.take() {
            turn.discard();
        }
    }
}

const HELD: &str = "taken at the end only";

impl Deref for Transaction {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        self.turn.as_ref().expect(HELD)
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        self.turn.as_mut().expect(HELD)
    }
}
