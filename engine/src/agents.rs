//! Sockets of ssh agents for programs of this machine, git above all.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;

use executor::{Agent, ServedAgent};
use store::Ingest;

use crate::error::BuildError;
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

impl Agents {
    /// The socket of an agent. One for key files is started at the first call; `new_home` makes the directory that it
    /// lies in.
    pub(crate) fn socket(
        &self,
        id: &str,
        agent: &Agent,
        new_home: impl FnOnce() -> Result<Ingest, BuildError>,
    ) -> Result<PathBuf, BuildError> {
        if let Agent::Socket(path) = agent {
            return Ok(path.clone());
        }
        let mut served = lock(&self.0);
        if let Some(known) = served.get(id) {
            return Ok(known.socket.clone());
        }
        let home = new_home()?;
        let started = ServedAgent::start(agent.clone(), home.path(), "agent");
        let started = started.map_err(|e| BuildError::io("cannot serve the keys of --ssh", e))?;
        let socket = home.path().join("agent");
        let new = Served { socket: socket.clone(), _agent: started, _home: home };
        served.insert(id.to_owned(), new);
        Ok(socket)
    }
}
