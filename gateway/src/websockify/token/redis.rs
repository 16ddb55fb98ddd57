//! Redis: the key is the token, its value `host:port` or `{"host": "host:port"}`.

use std::time::Duration;

use redis::{Client, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo};

use super::{Destination, LookupError, PluginError, TokenPlugin};

/// Time to connect in, and for each answer.
const WITHIN: Duration = Duration::from_secs(5);

/// Where Redis listens if nothing is said.
const PORT: u16 = 6379;

#[derive(Debug)]
pub struct Redis {
    host: String,
    port: u16,
    database: i64,
    password: Option<String>,
    /// With its colon.
    namespace: String,
}

impl Redis {
    /// From `host[:port[:db[:password[:namespace]]]]`; what is empty is as if it were not there, and what has a
    /// colon in it stands in quotes.
    pub fn new(source: &str) -> Result<Self, PluginError> {
        // Without the source: there may be a password in it.
        let wrong = || PluginError::WrongSource {
            class: "TokenRedis",
            source_text: source.split(':').next().unwrap_or_default().to_owned(),
            wanted: "host[:port[:db[:password[:namespace]]]]",
        };
        let fields = split(source);
        let field = |index: usize| fields.get(index).copied().filter(|field| !field.is_empty());
        if fields.len() > 5 {
            return Err(wrong());
        }
        Ok(Self {
            host: field(0).ok_or_else(wrong)?.to_owned(),
            port: field(1).map_or(Ok(PORT), str::parse).map_err(|_| wrong())?,
            database: field(2).map_or(Ok(0), str::parse).map_err(|_| wrong())?,
            password: field(3).map(str::to_owned),
            namespace: field(4).map(|name| format!("{name}:")).unwrap_or_default(),
        })
    }

    fn ask(&self, key: &str) -> redis::RedisResult<Option<Vec<u8>>> {
        let mut who = RedisConnectionInfo::default().set_db(self.database).set_skip_set_lib_name();
        if let Some(password) = &self.password {
            who = who.set_password(password);
        }
        let where_it_is = ConnectionAddr::Tcp(self.host.clone(), self.port);
        let client = Client::open(where_it_is.into_connection_info()?.set_redis_settings(who))?;
        let mut connection = client.get_connection_with_timeout(WITHIN)?;
        connection.set_read_timeout(Some(WITHIN))?;
        connection.set_write_timeout(Some(WITHIN))?;
        redis::cmd("GET").arg(key).query(&mut connection)
    }
}

impl TokenPlugin for Redis {
    fn find(&self, token: &str) -> Result<Option<Destination>, LookupError> {
        let whom = || format!("Redis at {}:{}", self.host, self.port);
        let answer = self.ask(&format!("{}{token}", self.namespace));
        let answer = answer.map_err(|error| LookupError::Ask { whom: whom(), why: error.to_string() })?;
        let Some(bytes) = answer else { return Ok(None) };
        let found = str::from_utf8(&bytes).ok().and_then(read);
        found.map(Some).ok_or_else(|| LookupError::Nonsense { whom: whom() })
    }
}

fn read(value: &str) -> Option<Destination> {
    let value = value.trim();
    if !value.starts_with('{') {
        return Destination::parse(value);
    }
    let value: serde_json::Value = serde_json::from_str(value).ok()?;
    Destination::parse(value["host"].as_str()?)
}

/// At colons, but for those within quotes around a whole field.
fn split(source: &str) -> Vec<&str> {
    let mut fields = Vec::new();
    let mut rest = source;
    loop {
        let quoted = rest.strip_prefix('"').and_then(|inner| inner.split_once('"'));
        let (field, behind) = match quoted {
            Some((field, behind)) if behind.is_empty() || behind.starts_with(':') => {
                (field, behind.strip_prefix(':'))
            }
            _ => rest.split_once(':').map_or((rest, None), |(field, behind)| (field, Some(behind))),
        };
        fields.push(field);
        match behind {
            Some(behind) => rest = behind,
            None => return fields,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, meant: Option<(&str, u16, i64, Option<&str>, &str)>) {
        let redis = Redis::new(source).ok();
        let parts = redis.as_ref().map(|redis| {
            let Redis { host, port, database, password, namespace } = redis;
            (host.as_str(), *port, *database, password.as_deref(), namespace.as_str())
        });
        assert_eq!(parts, meant, "{source}");
    }

    #[test]
    fn sources_are_read() {
        check("host", Some(("host", 6379, 0, None, "")));
        check("host:1", Some(("host", 1, 0, None, "")));
        check("host:::word", Some(("host", 6379, 0, Some("word"), "")));
        check("host:1:2:word:space", Some(("host", 1, 2, Some("word"), "space:")));
        check(r#"host::::"a:b""#, Some(("host", 6379, 0, None, "a:b:")));
        check(r#""::1":1:2:"wo:rd":"a:b""#, Some(("::1", 1, 2, Some("wo:rd"), "a:b:")));
        check(r#"host:::wo"rd"#, Some(("host", 6379, 0, Some("wo\"rd"), "")));
        for source in ["", ":1", "host:port", "host:1:db", "a:1:2:3:4:5"] {
            check(source, None);
        }
        let error = Redis::new("host:x::secret").expect_err("no port").to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn values_are_read() {
        for (value, target) in [
            ("host:1", Some("host:1")),
            (" host:1\n", Some("host:1")),
            (r#"{"host": "host:1"}"#, Some("host:1")),
            (r#"{"host": "::1:1", "more": 2}"#, Some("[::1]:1")),
            (r#"{"host": "host"}"#, None),
            (r#"{"port": "host:1"}"#, None),
            ("{", None),
            ("host", None),
            ("", None),
        ] {
            assert_eq!(read(value).map(|found| found.to_string()).as_deref(), target, "{value}");
        }
    }
}
