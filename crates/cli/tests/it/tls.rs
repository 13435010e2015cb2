//! HTTPS and certificate verification.
//!
//! `tests/tls` contains a valid certificate for localhost, an expired one, the key for both, and
//! the authority that signed them. They are used only in these tests.

use std::{io, net::SocketAddr, sync::Arc, thread};

use axum::{Router, serve::Listener};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring::default_provider,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
    server::TlsStream,
};

use crate::support::{Listen, Run, cli, deliver, status};

pub(crate) const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls");
/// A certificate for localhost and 127.0.0.1.
pub(crate) const VALID: &str = "server.pem";

/// A listener that accepts TLS connections.
struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, addr) = Listener::accept(&mut self.listener).await;
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, addr);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// Serves an application over TLS, and returns the URL of its root.
pub(crate) fn serve(app: Router, certificate: &str, http2: bool) -> String {
    let certificate = CertificateDer::from_pem_file(format!("{FOLDER}/{certificate}")).unwrap();
    let key = PrivateKeyDer::from_pem_file(format!("{FOLDER}/server.key")).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    if http2 {
        config.alpn_protocols = vec![b"h2".to_vec()];
    }
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind("0.0.0.0:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    let listener = TlsListener { listener, acceptor };
    thread::spawn(move || runtime.block_on(async { axum::serve(listener, app).await }));
    format!("https://localhost:{port}/")
}

#[test]
fn certificates_are_checked() {
    let url = serve(Router::new().fallback(|| async {}), VALID, false);
    let send = |url: &str, trusted: &str| {
        let mut send = cli!("send --url {url}");
        send.env("SSL_CERT_FILE", format!("{FOLDER}/{trusted}"));
        send
    };
    send(&url, "ca.pem").expect(0, "200 OK");
    // A certificate from an unknown authority or for another name is rejected.
    send(&url, VALID).expect(1, "certificate");
    let other = url.replace("localhost", "127.0.0.2");
    send(&other, "ca.pem").expect(1, "cannot connect");
}

#[test]
fn events_are_forwarded_to_an_application_whose_certificate_is_valid() {
    let url = serve(Router::new().fallback(|| async {}), VALID, false);
    for (trusted, code) in [("ca.pem", "200"), (VALID, "502")] {
        let mut command = cli!("listen --addr 0 --inspect off --forward {url}");
        command.env("SSL_CERT_FILE", format!("{FOLDER}/{trusted}"));
        let mut listen = Listen::spawn(&mut command);
        assert_eq!(status(&deliver(&listen.url, "", b"{}")), code);
        if code == "502" {
            listen.wait_for_log("certificate");
        }
    }
}

/// A minimal container may lack certificates, which plain HTTP does not need.
#[test]
fn plain_http_needs_no_certificates() {
    let listen = Listen::start(&[]);
    let mut send = cli!("send --url {}", listen.url);
    send.env("SSL_CERT_FILE", "/dev/null")
        .env("SSL_CERT_DIR", "/nonexistent");
    send.expect(0, "200 OK");
}
