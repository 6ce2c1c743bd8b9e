//! A real registry server (package docker-registry) of one test.

use testkit::server::{RegistryServer, RegistrySettings};

use crate::World;

/// A running server; it ends with this value.
pub struct Registry(RegistryServer);

impl Registry {
    /// Starts a server with its data in the world, on a free port of the loopback interface.
    pub fn start(world: &World) -> Registry {
        Registry(RegistryServer::start_in(&world.path("registry")))
    }

    /// As [`Registry::start`], with other settings.
    pub fn start_with(world: &World, settings: &RegistrySettings) -> Registry {
        Registry(RegistryServer::start_with(&world.path("registry"), settings))
    }

    /// A server that others wrote (crate container-registry), which wants a password.
    pub fn other(world: &World) -> Registry {
        Registry(RegistryServer::start_other(&world.path("other-registry")))
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.0.host().to_owned()
    }

    /// Every request so far that was answered with success: method and path.
    pub fn requests(&self) -> Vec<String> {
        self.0.requests()
    }
}
