//! Bytes of memory per idle session, before and after each had a burst of 64 KiB.

use portcullis_tests::process::allow_descriptors;
use portcullis_tests::target::Target;

use super::bulk::WARM;
use super::{Figures, Scale};
use crate::content::Content;
use crate::ends::Session;
use crate::relay::{Entry, Relay};
use crate::usage::pss;

pub fn idle(entry: &Entry, scale: &Scale) -> Figures {
    let content = Content::new(1);
    let target = Target::new();
    let mut relay = (entry.start)(target.port());
    // Warm: what the first session leaves for good is no session's own.
    let mut first = Session::open(&mut *relay, &target);
    first.down(&content, 0..WARM);
    let alone = pss(relay.id());
    // Two descriptors each, here as in the relay.
    let count = scale.sessions.min(entry.sessions_max).min((allow_descriptors() - 512) / 2);
    let each = |relay: &dyn Relay| (pss(relay.id()) as f64 - alone as f64) / count as f64;
    let doors = relay.doors(count as usize).into_iter();
    let mut sessions: Vec<_> = doors.map(|door| Session::enter(door, relay.wire(), &target)).collect();
    let before = each(&*relay);
    for session in &mut sessions {
        session.down(&content, 0..1);
    }
    vec![("idle".into(), before), ("idle/burst".into(), each(&*relay))]
}
