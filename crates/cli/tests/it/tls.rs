//! HTTPS, and the verification of certificates.
//!
//! `tests/tls` has a certificate for localhost, its key, and the authority that signed it. Nothing
//! else uses them.

use std::{net::SocketAddr, sync::Arc, thread};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring::default_provider,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use crate::support::{Listen, command, deliver, free_addr, run, status};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls");

/// Starts a server that responds to every request with 200, over TLS.
fn server() -> SocketAddr {
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(format!("{FOLDER}/server.pem")).unwrap()],
            PrivateKeyDer::from_pem_file(format!("{FOLDER}/server.key")).unwrap(),
        )
        .unwrap();
    let addr = free_addr();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind(addr)).unwrap();
    thread::spawn(move || {
        runtime.block_on(async {
            let acceptor = TlsAcceptor::from(Arc::new(config));
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                // One read is enough for a small request over a local connection.
                let _ = stream.read(&mut [0; 16_384]).await;
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                let _ = stream.write_all(answer).await;
                let _ = stream.shutdown().await;
            }
        });
    });
    addr
}

#[test]
fn certificates_are_checked() {
    let url = format!("https://localhost:{}/", server().port());
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
    let url = format!("https://localhost:{}/", server().port());
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
