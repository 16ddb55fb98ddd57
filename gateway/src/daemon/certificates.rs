//! The certificates that are shown and asked for: read at the start, and again whenever their files change.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tracing::{error, info};

use crate::broker::viewer_file::ViewerTls;
use crate::config::Config;
use crate::every::every;
use crate::metrics::Metrics;
use crate::relay::stream::Handshake;
use crate::tls::{Clients, Identity, Kept, Look, Server, certificates};

/// How often files are looked at: a change is used after the second look that finds it the same.
const LOOK: Duration = Duration::from_secs(1);

/// What is made of files.
pub struct Certificates {
    own: Vec<Identity>,
    within: Duration,
    followed: Vec<Arc<dyn Look>>,
}

impl Certificates {
    /// Nothing is read yet.
    pub fn new(config: &Config) -> Self {
        Self { own: config.certificates.clone(), within: config.tls_handshake, followed: Vec::new() }
    }

    /// How TLS begins with clients that are asked for `clients`.
    ///
    /// # Errors
    /// The files are no good, or there are none.
    pub fn handshake(&mut self, clients: &Clients) -> anyhow::Result<Handshake> {
        anyhow::ensure!(!self.own.is_empty(), "TLS without a certificate");
        let server = Server { own: self.own.clone(), clients: clients.clone() }.kept().context("TLS")?;
        self.followed.push(server.clone());
        Ok(Handshake { server, within: self.within })
    }

    /// The same, if it `is_wanted`.
    ///
    /// # Errors
    /// See [`Self::handshake`].
    pub fn handshake_if(&mut self, is_wanted: bool, clients: &Clients) -> anyhow::Result<Option<Handshake>> {
        is_wanted.then(|| self.handshake(clients)).transpose()
    }

    /// What a viewer that names no host meets: the first certificate, if it `is_wanted`.
    ///
    /// # Errors
    /// The file is no good.
    pub fn face_if(&mut self, is_wanted: bool) -> anyhow::Result<Option<Arc<Kept<ViewerTls>>>> {
        let Some(first) = self.own.first().filter(|_| is_wanted) else { return Ok(None) };
        let path = first.certificate.clone();
        let face = Kept::new(vec![path.clone()], move || {
            let chain = certificates(&path)?;
            Ok(Arc::new(ViewerTls::of(chain.iter().map(AsRef::as_ref))))
        });
        let face = face.context("TLS")?;
        self.followed.push(face.clone());
        Ok(Some(face))
    }

    /// Looks after something else that is made of files.
    pub fn follow(&mut self, kept: Option<Arc<dyn Look>>) {
        self.followed.extend(kept);
    }

    /// Follows all of it. Files that are no good leave in use what was in them before.
    pub async fn look_after(self, metrics: Arc<Metrics>) {
        let mut look = every(LOOK);
        loop {
            look.tick().await;
            for outcome in self.followed.iter().filter_map(|kept| kept.look()) {
                metrics.certificates_changed(outcome.is_ok());
                match outcome {
                    Ok(()) => info!("certificates changed, and are used from now on"),
                    Err(error) => error!(%error, "certificates changed and are no good: the old ones stay"),
                }
            }
        }
    }
}
