//! TLS in front of an authorizer that speaks none, to be trusted or not at will.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use openssl::ssl::{Ssl, SslAcceptor, SslMethod};
use pingora::tls::tokio_ssl::SslStream;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::authorizer::encrypted::Identity;

/// Stops listening when dropped.
pub struct Door {
    port: u16,
    trusted: Arc<AtomicBool>,
    ca: PathBuf,
    accepting: JoinHandle<()>,
    _directory: TempDir,
}

impl Door {
    pub async fn to(behind: std::net::SocketAddr) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Identity::new("authority", None, 1, 10);
        let (ca, _) = authority.write(directory.path(), "ca");
        let right = acceptor(&Identity::new("opa.test", Some(&authority), 1, 10));
        let wrong = acceptor(&Identity::new("opa.test", None, 1, 9));
        let trusted = Arc::new(AtomicBool::new(true));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shown = trusted.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = if shown.load(Ordering::SeqCst) { &right } else { &wrong };
                let ssl = Ssl::new(acceptor.context()).unwrap();
                tokio::spawn(pass(SslStream::new(ssl, stream).unwrap(), behind));
            }
        });
        Self { port, trusted, ca, accepting, _directory: directory }
    }

    /// For the authorizer's lines.
    pub fn toml(&self) -> String {
        let ca = self.ca.display();
        format!("url = \"https://127.0.0.1:{}/\"\ntls = {{ ca = \"{ca}\", server_name = \"opa.test\" }}\n", self.port)
    }

    /// Whom connections find from now on. Those that are open stay what they are.
    pub fn show_right(&self, right: bool) {
        self.trusted.store(right, Ordering::SeqCst);
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn acceptor(identity: &Identity) -> SslAcceptor {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    builder.set_certificate(&identity.certificate).unwrap();
    builder.set_private_key(&identity.key).unwrap();
    builder.build()
}

async fn pass(mut client: SslStream<TcpStream>, behind: std::net::SocketAddr) {
    if Pin::new(&mut client).accept().await.is_err() {
        return;
    }
    let Ok(mut server) = TcpStream::connect(behind).await else { return };
    // Whoever goes away has had enough.
    drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
}
