//! What the exporter gets of a session.

use exporter::Job;

use crate::internal::Internal;
use crate::session::Session;

/// A job of the session's export, which fetches nothing.
pub(crate) fn job(session: &Session) -> Job<'_> {
    Job {
        lease: &session.lease,
        events: &session.events,
        vertex: Internal::Export.vertex(),
        cancel: &session.cancel,
        fetch: None,
    }
}
