//! Sockets of ssh agents for programs of this machine, git above all.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;

use executor::{Agent, ServedAgent};
use store::Ingest;

use crate::error::BuildError;
use crate::session::Session;
use crate::stop::lock;

/// Agents of key files that are served by now, by id. They end with the build.
#[derive(Default)]
pub(crate) struct Agents(Mutex<HashMap<String, Served>>);

struct Served {
    socket: PathBuf,
    _agent: ServedAgent,
    /// Where the socket lies.
    _home: Ingest,
}

/// The socket of the agent of this id, if one was given; that of key files is made at the first call.
pub(crate) fn socket(session: &Session, id: &str) -> Result<Option<PathBuf>, BuildError> {
    let agent = match session.request.ssh.get(id) {
        None => return Ok(None),
        Some(Agent::Socket(path)) => return Ok(Some(path.clone())),
        Some(keys) => keys.clone(),
    };
    let mut served = lock(&session.agents.0);
    if let Some(known) = served.get(id) {
        return Ok(Some(known.socket.clone()));
    }
    let home = crate::source::new_ingest(session)?;
    let started = ServedAgent::start(agent, home.path(), "agent");
    let started = started.map_err(|e| BuildError::io("cannot serve the keys of --ssh", e))?;
    let socket = home.path().join("agent");
    let new = Served { socket: socket.clone(), _agent: started, _home: home };
    served.insert(id.to_owned(), new);
    Ok(Some(socket))
}
