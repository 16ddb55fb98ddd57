//! What a gateway holds: brokers and sessions as its API shows them, entries of its kernel map, descriptors,
//! and rows of its store.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, SqliteConnection};

use crate::eye::brokers_map;
use crate::gateway::Gateway;
use crate::process::descriptors;
use crate::wait_for;

/// All of it at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Brokers, sessions and instances, by the API.
    shown: [Value; 3],
    /// Entries of the map that filter and steering read; `None` without a filter.
    slots: Option<usize>,
    /// By table.
    rows: BTreeMap<String, Vec<String>>,
    /// Of the process.
    descriptors: usize,
}

impl State {
    /// Looks.
    pub fn of(gateway: &Gateway) -> Self {
        let shown = ["brokers", "sessions", "instances"].map(|list| {
            let mut answer = gateway.api().get(&format!("/v1/{list}")).1;
            // Whatever comes to a broker is counted, and that is no change of it.
            for item in
                answer["items"].as_array_mut().expect("a list").iter_mut().filter_map(Value::as_object_mut)
            {
                item.remove("connections");
            }
            answer
        });
        let slots = (gateway.ready("backend") == "ebpf").then(|| brokers_map(gateway.id()).keys().count());
        let rows = rows(&gateway.state_dir().join("store.db"));
        Self { shown, slots, rows, descriptors: descriptors(gateway.id()) }
    }

    /// Waits until all is as it was; `after` names what may have changed it.
    ///
    /// # Panics
    /// It does not become so.
    pub fn comes_back(&self, gateway: &Gateway, after: &str) {
        // A descriptor of a connection that has ended, this look's own among them, is given back a moment later.
        let mut last = None;
        wait_for(&format!("the state before {after}: {self:#?}"), || {
            let now = Self::of(gateway);
            let same = now == *self;
            if last.as_ref() != Some(&now) && !same {
                eprintln!("after {after}: {now:#?}");
            }
            last = Some(now);
            same.then_some(())
        });
    }
}

/// Every row of every table of a store that is in use, its values as SQL text.
///
/// # Panics
/// The store cannot be read.
pub fn rows(store: &Path) -> BTreeMap<String, Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(store).read_only(true);
        let mut store = options.connect().await.expect("opens");
        let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
        let mut all = BTreeMap::new();
        for table in texts(&mut store, tables.to_owned()).await {
            let columns = texts(&mut store, format!("SELECT name FROM pragma_table_info('{table}')")).await;
            let values: Vec<_> = columns.iter().map(|column| format!("quote({column})")).collect();
            let query = format!("SELECT {} FROM {table} ORDER BY 1", values.join(" || ' ' || "));
            let rows = texts(&mut store, query).await;
            all.insert(table, rows);
        }
        all
    })
}

async fn texts(store: &mut SqliteConnection, query: String) -> Vec<String> {
    sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(store).await.expect("reads")
}
