//! TLS, certificates by name, listeners by port.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use headgate_proxy::{Frontends, Proxy};
use headgate_snapshot::resource::Body;
use headgate_snapshot::{Certificate, HealthCheckType, Key, OriginTls, Refusal};
use http::{Request, Response};
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use support::*;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

fn der(certificate: &Certificate) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(certificate.chain_pem.as_bytes()).unwrap()
}

/// A connection to a name, by a client that trusts some certificates.
async fn connect(
    address: SocketAddr,
    name: &str,
    trusted: &[&Certificate],
) -> std::io::Result<SendRequest<Full<Bytes>>> {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add(der(certificate)).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    Ok(sender)
}

async fn ask(sender: &mut SendRequest<Full<Bytes>>, host: &str) -> Answer {
    sender.ready().await.unwrap();
    let request = Request::get("/").header("host", host).body(Full::default()).unwrap();
    read(sender.send_request(request).await.unwrap()).await
}

#[tokio::test]
async fn each_name_gets_its_certificate_and_a_new_one_while_connections_live() {
    let origin = TestOrigin::named("origin").await;
    let (a, b) = (certificate("a.example"), certificate("b.example"));
    let resources = |a: &Certificate| {
        vec![
            gateway(&[("a.example", "a"), ("b.example", "b")]),
            secret("a", a.clone()),
            secret("b", b.clone()),
            route("a.example", "https-a.example", "one"),
            route("b.example", "https-b.example", "one"),
            pool("one", pool_spec(&[origin.address])),
        ]
    };
    let running = serving(config(), resources(&a)).await;
    let mut to_a = connect(running.https, "a.example", &[&a]).await.unwrap();
    let mut to_b = connect(running.https, "b.example", &[&b]).await.unwrap();
    assert_eq!(ask(&mut to_a, "a.example").await.body, "origin");
    assert_eq!(ask(&mut to_b, "b.example").await.body, "origin");
    let misdirected = ask(&mut to_a, "b.example").await;
    assert_eq!((misdirected.status.as_u16(), misdirected.reason()), (421, "Misdirected"));

    let renewed = certificate("a.example");
    running.proxy.apply(complete(resources(&renewed))).await;
    assert_eq!(ask(&mut to_a, "a.example").await.body, "origin");
    assert!(connect(running.https, "a.example", &[&a]).await.is_err());
    let mut to_renewed = connect(running.https, "a.example", &[&renewed]).await.unwrap();
    assert_eq!(ask(&mut to_renewed, "a.example").await.body, "origin");
}

#[tokio::test]
async fn a_certificate_that_cannot_be_read_is_refused_and_the_last_good_one_stays() {
    let good = certificate("a.example");
    let resources = |certificate| vec![gateway(&[("a.example", "a")]), secret("a", certificate)];
    let running = serving(config(), resources(good.clone())).await;
    let bad = Certificate { key_pem: "no key".into(), ..good.clone() };
    let report = running.proxy.apply(complete(resources(bad))).await;
    let refused: Vec<_> = report.refusals.iter().map(|refusal| refusal.message.as_str()).collect();
    assert_eq!(refused, ["certificate: tls.key holds no PEM private key that can be read"]);
    assert!(connect(running.https, "a.example", &[&good]).await.is_ok());
}

/// An HTTPS origin with a certificate.
async fn https_origin(certificate: &Certificate) -> SocketAddr {
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![der(certificate)], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = hyper::service::service_fn(|_: Seen| async {
                    Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::from("secure")))
                });
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn an_origin_with_a_ca_of_its_own_is_verified_and_another_is_not_reached() {
    let (own, other) = (certificate("inner.example"), certificate("inner.example"));
    let address = https_origin(&own).await;
    let spec = |ca: &Certificate| {
        let mut spec = pool_spec(&[address]);
        spec.origins[0].tls = Some(OriginTls { server_name: "inner.example".into(), ca_pem: ca.chain_pem.clone() });
        spec.health_check = Some(headgate_snapshot::HealthCheck {
            interval_ms: 60_000,
            timeout_ms: 5_000,
            ..health_check(HealthCheckType::HttpsGet)
        });
        spec
    };
    let resources = vec![
        gateway(&[]),
        route("a.example", "http", "own"),
        route("b.example", "http", "other"),
        pool("own", spec(&own)),
        pool("other", headgate_snapshot::OriginPool { health_check: None, ..spec(&other) }),
    ];
    let running = serving(config(), resources).await;
    assert_eq!(get(running.http, "a.example", "/").await.body, "secure");
    // The connection of the pool that trusts the origin is not lent to the one that does not.
    assert_eq!(get(running.http, "b.example", "/").await.reason(), "ConnectFailed");
    let mut reports = running.proxy.reports();
    let probed = reports.wait_for(|report| {
        let own = report.pools.iter().find(|pool| pool.key == Some(pool_key("own")));
        own.is_some_and(|pool| pool.origins[0].healthy == 1)
    });
    assert!(tokio::time::timeout(LIMIT, probed).await.is_ok());
}

#[tokio::test]
async fn a_ca_that_cannot_be_read_is_told_and_its_origin_gets_nothing() {
    let origin = TestOrigin::named("origin").await;
    let mut spec = pool_spec(&[origin.address]);
    spec.origins[0].tls = Some(OriginTls { server_name: "inner.example".into(), ca_pem: "no PEM".into() });
    let running = start(config()).await;
    let resources = vec![gateway(&[]), route("a.example", "http", "one"), pool("one", spec)];
    let report = running.proxy.apply(complete(resources)).await;
    let expected = "origins[0].tls.caCertificateRef: the CA holds no certificate; no traffic goes to this origin";
    assert_eq!(report.refusals[0].message, expected);
    assert_eq!(get(running.http, "a.example", "/").await.reason(), "ConnectFailed");
}

#[tokio::test]
async fn ports_are_opened_and_closed_as_the_plan_says_and_a_taken_one_is_told() {
    let origin = TestOrigin::named("origin").await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut config = config();
    let mapped = |port| BTreeMap::from([(80, port)]);
    config.frontends = Frontends::ByPort { address, mapped: mapped(0) };
    let proxy = Proxy::start(config.clone(), axum::Router::new()).await.unwrap();
    assert_eq!(proxy.local_addresses().await.http(), None);
    let resources = vec![gateway(&[]), route("a.example", "http", "one"), pool("one", pool_spec(&[origin.address]))];
    proxy.apply(complete(resources.clone())).await;
    let http = proxy.local_addresses().await.http().unwrap();
    assert_eq!(get(http, "a.example", "/").await.body, "origin");
    proxy.apply(complete(Vec::new())).await;
    assert_eq!(proxy.local_addresses().await.http(), None);
    eventually("the listener is closed", || async { TcpStream::connect(http).await.is_err() }).await;

    let port = taken.local_addr().unwrap().port();
    config.frontends = Frontends::ByPort { address, mapped: mapped(port) };
    let proxy = Proxy::start(config, axum::Router::new()).await.unwrap();
    let report = proxy.apply(complete(resources)).await;
    assert_eq!(report.troubles[0].reason, "ListenerNotBound");
    assert!(report.troubles[0].message.starts_with(&format!("cannot listen on 127.0.0.1:{port}: ")));
    let refused = Refusal {
        key: Some(Key::new("Gateway", "default", "public")),
        reason: "ListenerNotBound".into(),
        message: format!("listener `http`: {}", report.troubles[0].message),
    };
    assert_eq!(report.refusals, [refused]);
}

#[tokio::test]
async fn a_listener_on_a_port_that_the_proxy_needs_is_refused_whichever_comes_first() {
    let origin = TestOrigin::named("origin").await;
    let target = closed_port().await;
    let proxy = by_port(target.port()).await;
    let admin = proxy.local_addresses().await.admin;
    let greedy = |name: &str, port: u16| {
        let mut greedy = gateway(&[]);
        greedy.key = Some(Key::new("Gateway", "shop", name));
        let Some(Body::Gateway(body)) = &mut greedy.body else { panic!("a Gateway") };
        body.listeners[0].port = port.into();
        greedy
    };
    let tenants = vec![greedy("of-port-80", target.port()), greedy("of-the-admin", admin.port())];
    let refused: Vec<_> = proxy.apply(complete(tenants.clone())).await.refusals;
    let refused: Vec<_> =
        refused.iter().map(|it| (it.key.as_ref().unwrap().name.as_str(), it.reason.as_str())).collect();
    assert_eq!(refused, [("of-port-80", "PortReserved"), ("of-the-admin", "PortReserved")]);
    assert_eq!(proxy.local_addresses().await.frontends, BTreeMap::new());

    let others = vec![gateway(&[]), route("a.example", "http", "one"), pool("one", pool_spec(&[origin.address]))];
    let report = proxy.apply(complete([tenants, others].concat())).await;
    assert_eq!((report.refusals.len(), report.troubles), (2, Vec::new()));
    assert_eq!(get(target, "a.example", "/").await.body, "origin");
    assert_eq!(get(admin, "admin", "/livez").await.status, 200);
}

#[tokio::test]
async fn an_address_that_is_taken_is_a_clear_error_at_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let mut config = config();
    config.frontends = Frontends::Merged { http: address, https: None };
    let error = Proxy::start(config, axum::Router::new()).await.err().unwrap().to_string();
    assert!(error.starts_with(&format!("cannot listen on {address}: ")), "{error}");
}

#[tokio::test]
async fn an_origin_whose_ca_cannot_be_read_is_passed_over_for_the_next() {
    let (broken, good) = (TestOrigin::named("broken").await, TestOrigin::named("good").await);
    let mut spec = pool_spec(&[broken.address, good.address]);
    spec.origins[0].tls = Some(OriginTls { server_name: "inner.example".into(), ca_pem: "no PEM".into() });
    let running = start(config()).await;
    running.proxy.apply(complete(vec![gateway(&[]), route("a.example", "http", "one"), pool("one", spec)])).await;
    assert_eq!(get(running.http, "a.example", "/").await.body, "good");
}

/// A proxy whose port 80 is bound on another one of loopback.
async fn by_port(port: u16) -> Proxy {
    let mapped = BTreeMap::from([(80, port)]);
    let frontends = Frontends::ByPort { address: IpAddr::V4(Ipv4Addr::LOCALHOST), mapped };
    Proxy::start(headgate_proxy::Config { frontends, ..config() }, axum::Router::new()).await.unwrap()
}

#[tokio::test]
async fn a_port_that_was_taken_is_bound_when_it_is_free() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let proxy = by_port(address.port()).await;
    assert_eq!(proxy.apply(complete(vec![gateway(&[])])).await.troubles[0].reason, "ListenerNotBound");
    drop(taken);
    let mut reports = proxy.reports();
    let bound = reports.wait_for(|report| report.troubles.is_empty());
    assert!(tokio::time::timeout(LIMIT, bound).await.is_ok());
    assert_eq!(get(address, "nowhere.example", "/").await.status, 404);
}

#[tokio::test]
async fn a_port_changes_its_protocol_with_one_batch() {
    let port = closed_port().await;
    let proxy = by_port(port.port()).await;
    let own = certificate("a.example");
    let mut https = gateway(&[("a.example", "a")]);
    let Some(Body::Gateway(body)) = &mut https.body else { panic!("a Gateway") };
    body.listeners.remove(0);
    body.listeners[0].port = 80;
    let https = vec![https, secret("a", own.clone())];
    for _ in 0..10 {
        assert_eq!(proxy.apply(complete(vec![gateway(&[])])).await.troubles, []);
        assert_eq!(get(port, "nowhere.example", "/").await.status, 404);
        assert_eq!(proxy.apply(complete(https.clone())).await.troubles, []);
        assert!(connect(port, "a.example", &[&own]).await.is_ok());
    }
}

#[tokio::test]
async fn a_batch_after_a_drain_opens_no_listener() {
    let proxy = by_port(0).await;
    proxy.apply(complete(vec![gateway(&[])])).await;
    assert!(proxy.local_addresses().await.http().is_some());
    proxy.drain().await;
    proxy.apply(complete(vec![gateway(&[("a.example", "a")])])).await;
    assert_eq!(proxy.local_addresses().await.frontends, BTreeMap::new());
}
