//! Where the log goes: standard error, and a file or syslog beside it.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::syslog::Syslog;
use super::{Failure, usage};

/// All places, open.
pub struct Log {
    filter: EnvFilter,
    places: Places,
}

struct Places {
    file: Option<Arc<File>>,
    syslog: Option<Arc<Syslog>>,
}

/// Writes one event to all of them.
struct Everywhere<'a> {
    places: &'a Places,
    level: Level,
}

impl Log {
    /// Opens what is named. `PORTCULLIS_LOG` says what is logged, as for the daemon.
    pub fn open(
        verbose: bool,
        file: Option<&Path>,
        syslog: Option<&str>,
        legacy: bool,
        background: bool,
    ) -> Result<Self, Failure> {
        let filter = EnvFilter::try_from_env("PORTCULLIS_LOG");
        let filter = filter.unwrap_or_else(|_| EnvFilter::new(if verbose { "debug" } else { "info" }));
        let open = |path: &Path| {
            let file = OpenOptions::new().append(true).create(true).open(path);
            file.map(Arc::new).with_context(|| format!("--log-file {}", path.display()))
        };
        let file = file.map(open).transpose()?;
        let syslog = match syslog {
            Some(server) => match Syslog::connect(server, legacy, background) {
                Ok(Some(syslog)) => Some(Arc::new(syslog)),
                Ok(None) => return usage(format!("--syslog {server} has no port")),
                Err(error) => {
                    return Err(Failure::Failed(
                        anyhow::Error::from(error).context(format!("--syslog {server}")),
                    ));
                }
            },
            None => None,
        };
        Ok(Self { filter, places: Places { file, syslog } })
    }

    /// From now on it is written.
    pub fn begin(self) {
        // A file is for programs too.
        let colours =
            io::stderr().is_terminal() && self.places.file.is_none() && self.places.syslog.is_none();
        tracing_subscriber::fmt()
            .with_env_filter(self.filter)
            .with_ansi(colours)
            .with_writer(self.places)
            .log_internal_errors(false)
            .init();
    }
}

impl<'a> MakeWriter<'a> for Places {
    type Writer = Everywhere<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Everywhere { places: self, level: Level::INFO }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Self::Writer {
        Everywhere { places: self, level: *meta.level() }
    }
}

impl Write for Everywhere<'_> {
    /// An event comes as a whole. A place that cannot be written to is left out: nobody ends for want of a log.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let _ = io::stderr().write_all(event);
        if let Some(file) = &self.places.file {
            let _ = file.as_ref().write_all(event);
        }
        if let Some(syslog) = &self.places.syslog {
            syslog.send(self.level, &String::from_utf8_lossy(event));
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
