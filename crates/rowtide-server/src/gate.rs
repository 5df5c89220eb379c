//! Who is let in.
//!
//! Without a token only this machine can ask, because only its loopback address is listened at.
//! But a browser on it can be made to ask by any page, under a name that the page's owner lets
//! point to this machine; so there the name that was asked for must be one of this machine's.

use std::net::IpAddr;

use hyper::header::{AUTHORIZATION, HOST, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use rowtide_core::Secret;
use subtle::ConstantTimeEq;

/// What a request must fulfil.
pub(crate) struct Gate {
    /// Only this machine can ask.
    pub(crate) is_local: bool,
    pub(crate) token: Option<Secret>,
}

impl Gate {
    /// Lets the request with these `headers` in, or says how to refuse it.
    pub(crate) fn pass(&self, headers: &HeaderMap) -> Result<(), StatusCode> {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        if self.is_local && !host.is_some_and(is_this_machine) {
            return Err(StatusCode::MISDIRECTED_REQUEST);
        }
        let Some(token) = &self.token else { return Ok(()) };
        let given = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        let given = given.and_then(|value| value.strip_prefix(b"Bearer ")).unwrap_or_default();
        // How long the comparison takes tells nothing about the token.
        match bool::from(given.ct_eq(token.reveal().as_bytes())) {
            true => Ok(()),
            false => Err(StatusCode::UNAUTHORIZED),
        }
    }
}

/// Whether `host`, perhaps with a port, means this machine whoever is asked.
fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _port)) => address,
        None => host.split_once(':').map_or(host, |(name, _port)| name),
    };
    let is_loopback = |address: IpAddr| address.is_loopback();
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(host: &str, authorization: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn on_this_machine_only_its_own_names_are_answered_to() {
        let gate = Gate { is_local: true, token: None };
        for host in ["localhost", "LOCALHOST:9464", "127.0.0.1:1", "127.1.2.3", "[::1]:9464"] {
            assert_eq!(gate.pass(&headers(host, None)), Ok(()), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example:9464", "10.0.0.1", "[::2]", "", "[::1"]
        {
            let refused = Err(StatusCode::MISDIRECTED_REQUEST);
            assert_eq!(gate.pass(&headers(host, None)), refused, "{host}");
        }
        assert!(gate.pass(&HeaderMap::new()).is_err());
    }

    #[test]
    fn a_token_must_be_brought_whole() {
        let token = Some(Secret::new("0123456789abcdef"));
        let gate = Gate { is_local: false, token };
        let right = headers("anywhere", Some("Bearer 0123456789abcdef"));
        assert_eq!(gate.pass(&right), Ok(()));
        for wrong in [
            None,
            Some("Bearer "),
            Some("Bearer 0123456789abcde"),
            Some("Bearer 0123456789abcdeg"),
            Some("Bearer 0123456789abcdef0"),
            Some("0123456789abcdef"),
            Some("Basic 0123456789abcdef"),
        ] {
            let refused = Err(StatusCode::UNAUTHORIZED);
            assert_eq!(gate.pass(&headers("anywhere", wrong)), refused, "{wrong:?}");
        }
    }
}
