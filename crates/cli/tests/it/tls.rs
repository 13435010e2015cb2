//! HTTPS, and the verification of certificates.
//!
//! `tests/tls` has a certificate for localhost, its key, and the authority that signed it. Nothing
//! else uses them.

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

use crate::support::{Listen, command, deliver, run, status};

pub(crate) const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls");

/// A listener whose connections are encrypted.
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
pub(crate) fn serve(app: Router, http2: bool) -> String {
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(format!("{FOLDER}/server.pem")).unwrap()],
            PrivateKeyDer::from_pem_file(format!("{FOLDER}/server.key")).unwrap(),
        )
        .unwrap();
    if http2 {
        config.alpn_protocols = vec![b"h2".to_vec()];
    }
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    let listener = TlsListener { listener, acceptor };
    thread::spawn(move || runtime.block_on(async { axum::serve(listener, app).await }));
    format!("https://localhost:{port}/")
}

fn ok() -> Router {
    Router::new().fallback(|| async {})
}

#[test]
fn certificates_are_checked() {
    let url = serve(ok(), false);
    let trusted = format!("{FOLDER}/ca.pem");
    let mut send = command(["send", "--url", &url]);
    run(send.env("SSL_CERT_FILE", &trusted)).expect(0, &["200 OK"]);

    // An unknown authority and another name are rejected.
    let mut send = command(["send", "--url", &url]);
    run(send.env("SSL_CERT_FILE", format!("{FOLDER}/server.pem"))).expect(1, &["certificate"]);
    let mut send = command(["send", "--url", &url.replace("localhost", "127.0.0.2")]);
    run(send.env("SSL_CERT_FILE", &trusted)).expect(1, &["cannot connect"]);
}

#[test]
fn listen_forwards_over_tls() {
    let url = serve(ok(), false);
    let fixed = format!("listen --addr 127.0.0.1:0 --inspect off --forward {url}");
    let mut command = command(fixed.split_whitespace());
    command.env("SSL_CERT_FILE", format!("{FOLDER}/ca.pem"));
    let listen = Listen::spawn(&mut command);
    assert_eq!(status(&deliver(&listen.url, "", b"{}")), "200");
}

/// A minimal container that uses only plain HTTP can lack certificates.
#[test]
fn plain_http_needs_no_certificates() {
    let listen = Listen::start(&[]);
    let mut send = command(["send", "--url", &listen.url]);
    send.env("SSL_CERT_FILE", "/dev/null")
        .env("SSL_CERT_DIR", "/nonexistent");
    run(&mut send).expect(0, &["200 OK"]);
}
