//! The `session` table.

use std::sync::atomic::Ordering;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use tokio::sync::oneshot;

use crate::broker::session::Session;
use crate::broker::ticket::hex;

use super::group::Kind;
use super::{Store, StoreError, WallTime, failed};

/// A session, as it is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// Its id.
    pub session_id: String,
    /// Its broker.
    pub broker_id: String,
    /// Its instance.
    pub instance_id: String,
    /// What the console speaks.
    pub graphics_protocol: String,
    /// Where it came from.
    pub client: String,
    /// Connections so far.
    pub connections: u32,
    /// Payload bytes, client to target; of a session that runs, up to its last end.
    pub up_bytes: i64,
    /// Payload bytes, target to client.
    pub down_bytes: i64,
    /// When it began.
    pub started_at: WallTime,
    /// When its last connection ended; `None` while it has one.
    pub ended_at: Option<WallTime>,
    /// How its last connection ended.
    pub end_reason: Option<String>,
}

/// The end that no connection follows; it stands in the record before the session has ended.
pub(super) const KILLED: &str = "killed";
/// The daemon ended before it.
const LOST: &str = "gateway_lost";

/// Rows of a [`Begin`](super::journal::Begin) each, whose client is in already: its ticket is its own, also where the
/// record of another that did not come in is not taken back yet. Behind it there may be what [`END`] takes behind the
/// id. Can be repeated.
pub(super) const RECORD: &str = "UPDATE ticket SET session_id = value->>0 FROM jsonb_each($4) \
    WHERE hash = value->>1; \
    INSERT INTO session (session_id, broker_id, instance_id, graphics_protocol, client, connections, up_bytes, \
    down_bytes, started_at, ended_at, end_reason) \
    SELECT value->>0, value->>2, value->>3, value->>4, value->>5, 1, COALESCE(value->>7, 0), COALESCE(value->>8, 0), \
    value->>6, value->>9, value->>10 FROM jsonb_each($4) WHERE TRUE \
    ON CONFLICT (session_id) DO UPDATE SET up_bytes = MAX(session.up_bytes, excluded.up_bytes), \
    down_bytes = MAX(session.down_bytes, excluded.down_bytes), \
    ended_at = COALESCE(excluded.ended_at, session.ended_at), end_reason = CASE WHEN session.end_reason = 'killed' \
    THEN session.end_reason ELSE COALESCE(excluded.end_reason, session.end_reason) END;";

/// Rows of a [`Begin`](super::journal::Begin) each. Returns the ids of those that begin.
pub(super) const BEGIN: &str = "UPDATE ticket SET session_id = value->>0 FROM jsonb_each($5) \
    WHERE hash = value->>1 AND (session_id IS NULL OR session_id = value->>0); \
    INSERT INTO session (session_id, broker_id, instance_id, graphics_protocol, client, connections, up_bytes, \
    down_bytes, started_at) \
    SELECT value->>0, value->>2, value->>3, value->>4, value->>5, 1, 0, 0, value->>6 FROM jsonb_each($5) \
    WHERE value->>1 IS NULL OR EXISTS (SELECT 1 FROM ticket WHERE hash = value->>1 AND session_id = value->>0) \
    ON CONFLICT (session_id) DO UPDATE SET connections = session.connections + 1, ended_at = NULL, \
    end_reason = NULL WHERE session.end_reason IS DISTINCT FROM 'killed' RETURNING 4, session_id;";

/// Rows of session id, bytes up and down, time of the end if it is one, and its reason. A kill stays one.
pub(super) const END: &str = "UPDATE session SET up_bytes = value->>1, down_bytes = value->>2, \
    ended_at = value->>3, end_reason = CASE WHEN end_reason = 'killed' THEN end_reason ELSE value->>4 END \
    FROM jsonb_each($6) WHERE session_id = value->>0;";

fn read(row: &SqliteRow) -> Result<SessionRow, sqlx::Error> {
    let ended_at: Option<i64> = row.try_get("ended_at")?;
    Ok(SessionRow {
        session_id: row.try_get("session_id")?,
        broker_id: row.try_get("broker_id")?,
        instance_id: row.try_get("instance_id")?,
        graphics_protocol: row.try_get("graphics_protocol")?,
        client: row.try_get("client")?,
        connections: row.try_get("connections")?,
        up_bytes: row.try_get("up_bytes")?,
        down_bytes: row.try_get("down_bytes")?,
        started_at: WallTime(row.try_get("started_at")?),
        ended_at: ended_at.map(WallTime),
        end_reason: row.try_get("end_reason")?,
    })
}

impl Store {
    /// Records that a connection comes into a session, and binds the ticket to it. Returns `false`, and
    /// records nothing, if the ticket was used by another session, or the session was killed; `None` if the
    /// store is closed. What it returns goes through `told` at once: it is a value of the caller's, which is
    /// dropped where nobody waits for it any more. Of a session that begins with a ticket that the caller has found to
    /// be good, the journal is enough.
    ///
    /// # Errors
    /// What `told` gets, see [`StoreError`]; nothing is recorded then.
    pub fn begin_session<T: Send + 'static>(
        &self,
        session: &Session,
        hash: Option<&[u8; 32]>,
        told: impl FnOnce(Result<bool, StoreError>) -> T + Send + 'static,
    ) -> impl Future<Output = Option<T>> + Send + 'static {
        // What a `journal::Begin` is read from.
        let begin = (
            &session.id,
            hash.map(|hash| hex(hash)),
            &session.broker_id,
            &session.instance_id,
            session.protocol.name(),
            session.client,
            WallTime::now().0,
        );
        let row = serde_json::to_string(&begin).expect("texts and a number");
        let (answer, answered) = oneshot::channel();
        let told = move |begun| {
            // Sent or not, the value is dropped if nobody takes it.
            let _ = answer.send(told(begun));
        };
        let first = session.tell_once();
        if first || !session.is_recorded() {
            self.group.begin(session.id.clone(), row, first, told);
        } else {
            let told = |begun: Result<Option<SqliteRow>, _>| told(begun.map(|row| row.is_some()));
            self.group.tell(Kind::BeginSession, &session.id, row, told);
        }
        async { answered.await.ok() }
    }

    /// Records that a session was killed, before it ended: its ticket is good for nothing from now on,
    /// also after a crash.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn kill_session(&self, id: &str) -> Result<(), StoreError> {
        self.settle().await;
        let kill = sqlx::query("UPDATE session SET end_reason = $2 WHERE session_id = $1");
        self.run(kill.bind(id).bind(KILLED)).await.map_err(failed("kill session"))?;
        Ok(())
    }

    /// Records what a session moved so far, and its end if it has no connection any more. Can be repeated.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn end_session(&self, session: &Session, end: &str) -> Result<(), StoreError> {
        let bytes = |counter: &std::sync::atomic::AtomicU64| {
            i64::try_from(counter.load(Ordering::Relaxed)).unwrap_or(i64::MAX)
        };
        let over = session.live() == 0;
        let ended_at = over.then(|| WallTime::now().0);
        let values = (&session.id, bytes(&session.up), bytes(&session.down), ended_at, over.then_some(end));
        self.group.ask(Kind::EndSession, &session.id, &values).await.map(drop)
    }

    /// Takes [`Self::begin_session`] back: nobody came in. A session that began with it never was, and its
    /// ticket is unused; one that was before has ended again, if it has no connection. Can be repeated.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn take_session_back(&self, session: &Session) -> Result<(), StoreError> {
        const WHAT: &str = "take session back";
        self.group.settle().await?;
        let mut write = self.write().await.map_err(failed(WHAT))?;
        let forget = sqlx::query("DELETE FROM session WHERE session_id = $1 AND connections = 1");
        let forgotten = forget.bind(&session.id).execute(&mut *write).await.map_err(failed(WHAT))?;
        if forgotten.rows_affected() == 0 {
            write.rollback().await.map_err(failed(WHAT))?;
            return self.end_session(session, session.last_end().unwrap_or(LOST)).await;
        }
        let free = sqlx::query("UPDATE ticket SET session_id = NULL WHERE session_id = $1");
        free.bind(&session.id).execute(&mut *write).await.map_err(failed(WHAT))?;
        write.commit().await.map_err(failed(WHAT))
    }

    /// Records for all sessions that are not ended in the store that they ended now, with their daemon.
    /// Returns how many.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn end_all_sessions(&self) -> Result<u64, StoreError> {
        let all = "UPDATE session SET ended_at = $1, end_reason = COALESCE(end_reason, $2) \
                   WHERE ended_at IS NULL";
        let end = sqlx::query(all).bind(WallTime::now().0).bind(LOST);
        Ok(self.run(end).await.map_err(failed("end sessions"))?.rows_affected())
    }

    /// The row of a session.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn session(&self, id: &str) -> Result<Option<SessionRow>, StoreError> {
        self.settle().await;
        let row = self.row(sqlx::query("SELECT * FROM session WHERE session_id = $1").bind(id)).await;
        row.and_then(|row| row.as_ref().map(read).transpose()).map_err(failed("read session"))
    }

    /// At most `limit` rows behind the session `after`, or from the first one on if it is empty. All, or those
    /// that have a connection (`true`), in the order of their ids; or those that have none (`false`), what
    /// ended last first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn sessions(
        &self,
        after: &str,
        limit: u32,
        live: Option<bool>,
    ) -> Result<Vec<SessionRow>, StoreError> {
        self.settle().await;
        let query = match live {
            None => "SELECT * FROM session WHERE session_id > $1 ORDER BY session_id LIMIT $2",
            Some(true) => {
                "SELECT * FROM session WHERE session_id > $1 AND ended_at IS NULL ORDER BY session_id LIMIT $2"
            }
            Some(false) => {
                "SELECT * FROM session WHERE ended_at IS NOT NULL AND ($1 = '' OR (ended_at, session_id) < \
                 (SELECT ended_at, session_id FROM session WHERE session_id = $1)) \
                 ORDER BY ended_at DESC, session_id DESC LIMIT $2"
            }
        };
        let rows = self.rows(sqlx::query(query).bind(after).bind(limit)).await;
        rows.and_then(|rows| rows.iter().map(read).collect()).map_err(failed("list sessions"))
    }

    /// Forgets sessions that ended before `before`, and all but the newest `keep`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn forget_sessions(&self, before: WallTime, keep: u32) -> Result<u64, StoreError> {
        const WHAT: &str = "forget sessions";
        let old = self.run(sqlx::query("DELETE FROM session WHERE ended_at < $1").bind(before.0)).await;
        let old = old.map_err(failed(WHAT))?.rows_affected();
        let many = "DELETE FROM session WHERE session_id IN (SELECT session_id FROM session \
                    WHERE ended_at IS NOT NULL ORDER BY ended_at DESC LIMIT -1 OFFSET $1)";
        let many = self.run(sqlx::query(many).bind(keep)).await.map_err(failed(WHAT))?;
        Ok(old + many.rows_affected())
    }
}
