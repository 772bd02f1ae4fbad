//! A peer that is given. Its address, its certificate and its credentials count, in the tests' process and in those that it
//! starts; and a test that asks for more than the peer can do says so.

use crate::{
    peer::{self, Can},
    proxy::forward,
};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, body::Incoming, header, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{
    collections::BTreeSet,
    env, io,
    path::PathBuf,
    process::{Command, Output},
    sync::{Arc, Mutex},
};
use tokio::net::TcpListener;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer},
};

/// HTTPS before the peer, with a certificate of its own.
struct Front {
    url: String,
    /// The keys that calls were signed with.
    keys: Arc<Mutex<BTreeSet<String>>>,
    certificate: PathBuf,
    _folder: tempfile::TempDir,
}

impl Front {
    async fn start(peer: &str) -> Self {
        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
        let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let certificate = folder.path().join("ca.pem");
        std::fs::write(&certificate, pem(certified.cert.der())).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let (keys, peer) = (Arc::default(), peer.strip_prefix("http://").unwrap().to_owned());
        let (seen, acceptor) = (Arc::clone(&keys), TlsAcceptor::from(Arc::new(tls)));
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let (seen, acceptor, peer) = (Arc::clone(&seen), acceptor.clone(), peer.clone());
                tokio::spawn(async move {
                    // Who does not trust the certificate goes away here.
                    let Ok(connection) = acceptor.accept(connection).await else { return };
                    let service = service_fn(|request| hand_on(request, &peer, &seen));
                    let serving = hyper::server::conn::http1::Builder::new();
                    let _ = serving.serve_connection(TokioIo::new(connection), service).await;
                });
            }
        });
        Self { url, keys, certificate, _folder: folder }
    }
}

async fn hand_on(
    request: Request<Incoming>,
    peer: &str,
    keys: &Mutex<BTreeSet<String>>,
) -> io::Result<hyper::Response<Full<bytes::Bytes>>> {
    let signed = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let key = signed.and_then(|signed| signed.split_once("Credential=")?.1.split('/').next());
    keys.lock().unwrap().insert(key.unwrap_or("nobody").to_owned());
    let (mut parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    parts.headers.remove(header::TRANSFER_ENCODING);
    if parts.method != "GET" {
        parts.headers.insert(header::CONTENT_LENGTH, body.len().into());
    }
    forward(peer, Request::from_parts(parts, Full::new(body))).await
}

/// A certificate as a file holds it.
fn pem(der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in der.chunks(48) {
        for three in line.chunks(3) {
            let bits = three
                .iter()
                .chain([0, 0].iter())
                .take(3)
                .fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
            let digits = [18, 12, 6, 0].map(|at| char::from(DIGITS[bits >> at & 63]));
            let used = three.len() + 1;
            text.extend(digits.iter().take(used).chain(['='; 4].iter().take(4 - used)));
        }
        text.push('\n');
    }
    text + "-----END CERTIFICATE-----\n"
}

/// Runs a test of this binary in a process of its own, told of this peer and of nothing else.
async fn run(test: &'static str, told: Vec<(&'static str, String)>) -> Output {
    let mut process = Command::new(env::current_exe().unwrap());
    process.args(["--exact", test, "--nocapture"]).env_clear().envs(told);
    process.env("QUADRILLE_REQUIRE_PEER", "1");
    tokio::task::spawn_blocking(move || process.output()).await.unwrap().unwrap()
}

fn passed(output: &Output) -> bool {
    output.status.success() && String::from_utf8_lossy(&output.stdout).contains("1 passed")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_address_the_certificate_and_the_credentials_of_a_given_peer_are_used() {
    let test = "the_address_the_certificate_and_the_credentials_of_a_given_peer_are_used";
    let Some(url) = peer::require_that_can(test, Can::BeMeddledWith) else { return };
    let front = Front::start(url).await;
    let keys = [
        ("AWS_ACCESS_KEY_ID", "given"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("QUADRILLE_PEER", "aws-emulator"),
    ];
    let told: Vec<(&str, String)> = keys.map(|(name, value)| (name, value.to_owned())).into();
    let address = || ("AWS_ENDPOINT_URL", front.url.clone());
    let certificate = |name| (name, front.certificate.display().to_string());
    let all =
        [told.clone(), vec![address(), certificate("SSL_CERT_FILE"), certificate("AWS_CA_BUNDLE")]].concat();
    // It makes all that the model names, and a process that it starts calls all of it.
    let connects = "environment::a_process_connects_by_its_environment";
    let output = run(connects, all.clone()).await;
    assert!(passed(&output), "{output:?}");
    assert_eq!(*front.keys.lock().unwrap(), BTreeSet::from(["given".to_owned()]));
    // A test that a proxy has to change calls for.
    let output = run("faults::a_race_is_lost_also_where_the_answer_was", all.clone()).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        passed(&output)
            && said.contains("LEFT OUT")
            && said.contains("the peer aws-emulator can't BeMeddledWith"),
        "{output:?}"
    );
    for (lacking, why) in [
        ([told.clone(), vec![address()]].concat(), "certificate"),
        ([told.clone(), vec![address(), certificate("AWS_CA_BUNDLE")]].concat(), "SSL_CERT_FILE"),
        (told.clone(), "AWS_ENDPOINT_URL gives no address"),
        (all[1..].to_vec(), "AWS_ACCESS_KEY_ID is not set"),
        (vec![("QUADRILLE_PEER", "nobodys".to_owned()), address()], "ministack, aws-emulator, unnamed"),
        (vec![("AWS_ENDPOINT_URL", "https://sqs.eu-west-1.amazonaws.com".to_owned())], "AWS itself"),
    ] {
        let output = run(connects, lacking).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && said.to_lowercase().contains(&why.to_lowercase()),
            "{why}: {output:?}"
        );
    }
}
