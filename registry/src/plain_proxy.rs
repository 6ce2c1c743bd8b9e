//! Plain http through an http proxy, as proxies expect it: the whole URL in the request line, no tunnel. Many proxies
//! open tunnels to port 443 alone.
//!
//! Owns the change to a request's head. Knows nothing of TLS, which goes through tunnels.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};
use ureq::{Error, Proxy, ProxyProtocol};

use crate::dns::HostResolver;

/// An http proxy; a connection serves one request, so an agent with it must not keep any.
#[derive(Clone)]
pub(crate) struct PlainProxy {
    uri: Uri,
    /// The value of Proxy-Authorization.
    authorization: Option<String>,
}

impl std::fmt::Debug for PlainProxy {
    /// Never shows the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PlainProxy({}:{:?})", self.uri.host().unwrap_or_default(), self.uri.port_u16())
    }
}

impl PlainProxy {
    /// `None` for proxies of other kinds.
    pub(crate) fn new(proxy: &Proxy) -> Option<PlainProxy> {
        if proxy.protocol() != ProxyProtocol::Http {
            return None;
        }
        let uri = format!("http://{}:{}/", proxy.host(), proxy.port()).parse().ok()?;
        let user = proxy.username().map(|user| {
            let user = format!("{user}:{}", proxy.password().unwrap_or_default());
            format!("Basic {}", STANDARD.encode(user))
        });
        Some(PlainProxy { uri, authorization: user })
    }

    /// The resolver for an agent that asks the proxy for everything: the names of servers are the proxy's to resolve.
    pub(crate) fn resolver(&self, hosts: HostResolver) -> ProxyResolver {
        ProxyResolver { proxy: self.uri.clone(), hosts }
    }

    /// The head of a request with the whole URL and the credentials for the proxy in it.
    fn rewrite(&self, authority: &str, head: &[u8]) -> Result<Vec<u8>, Error> {
        let malformed = || Error::ConnectProxyFailed("the request's head is cut".to_owned());
        let method = head.iter().position(|byte| *byte == b' ').ok_or_else(malformed)? + 1;
        let line = head.windows(2).position(|two| two == b"\r\n").ok_or_else(malformed)? + 2;
        let mut out = head[..method].to_vec();
        out.extend_from_slice(format!("http://{authority}").as_bytes());
        out.extend_from_slice(&head[method..line]);
        if let Some(value) = &self.authorization {
            out.extend_from_slice(format!("Proxy-Authorization: {value}\r\n").as_bytes());
        }
        out.extend_from_slice(&head[line..]);
        Ok(out)
    }
}

/// Finds the proxy, whatever server is meant.
#[derive(Debug)]
pub(crate) struct ProxyResolver {
    proxy: Uri,
    hosts: HostResolver,
}

impl Resolver for ProxyResolver {
    fn resolve(
        &self,
        _: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        self.hosts.resolve(&self.proxy, config, timeout)
    }
}

impl<In: Transport> Connector<In> for PlainProxy {
    type Out = ThroughProxy<In>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<ThroughProxy<In>>, Error> {
        let authority = details.uri.authority().map(|authority| authority.as_str().to_owned());
        let authority = authority.ok_or(Error::HostNotFound)?;
        let proxy = self.clone();
        Ok(chained.map(|inner| ThroughProxy { inner, proxy, authority, begun: false }))
    }
}

/// A connection to a proxy for one request.
#[derive(Debug)]
pub(crate) struct ThroughProxy<In> {
    inner: In,
    proxy: PlainProxy,
    authority: String,
    /// The head was sent.
    begun: bool,
}

impl<In: Transport> Transport for ThroughProxy<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        if self.begun || amount == 0 {
            return self.inner.transmit_output(amount, timeout);
        }
        self.begun = true;
        let head = self.proxy.rewrite(&self.authority, &self.inner.buffers().output()[..amount])?;
        let mut rest = &head[..];
        while !rest.is_empty() {
            let output = self.inner.buffers().output();
            let count = output.len().min(rest.len());
            output[..count].copy_from_slice(&rest[..count]);
            self.inner.transmit_output(count, timeout)?;
            rest = &rest[count..];
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_name_the_whole_url() {
        let check = |proxy: &str, head: &str, want: Option<&str>| {
            let proxy = Proxy::new(proxy).expect("a proxy");
            let got = PlainProxy::new(&proxy).and_then(|p| p.rewrite("h:8", head.as_bytes()).ok());
            assert_eq!(got.as_deref(), want.map(str::as_bytes), "{head}");
        };
        let head = "GET /a?b HTTP/1.1\r\nHost: h:8\r\n\r\n";
        let plain = "GET http://h:8/a?b HTTP/1.1\r\nHost: h:8\r\n\r\n";
        check("http://p:1", head, Some(plain));
        let with_user = "GET http://h:8/a?b HTTP/1.1\r\nProxy-Authorization: Basic dTpwdw==\r\nHost: h:8\r\n\r\n";
        check("http://u:pw@p:1", head, Some(with_user));
        check("https://p:1", head, None);
        check("http://p:1", "GET /a", None);
        let proxy = Proxy::new("http://u:secret@p:1").expect("a proxy");
        assert!(!format!("{:?}", PlainProxy::new(&proxy)).contains("secret"));
    }
}
