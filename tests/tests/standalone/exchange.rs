//! What happens to one request and its answer: section 3 of the contract.

use std::time::Duration;

use headgate_tests::{
    certificates::Authority,
    client::{self, Ask, Connection},
    folder::Folder,
    manifests::{GATEWAY, fill, route, secret, service},
    origin::Origin,
    standalone::Standalone,
    within,
};
use http::{Method, Version};

const LIMIT: Duration = Duration::from_mins(1);
const HOST: &str = "shop.example.com";

struct World {
    headgate: Standalone,
    _origins: [Origin; 2],
    _folder: Folder,
}

/// A shop, and its office under `/admin`, started with these arguments.
async fn world(arguments: &[&str]) -> World {
    let rules = r"
- matches: [{ path: { type: PathPrefix, value: /admin } }]
  backendRefs: [{ name: office, port: 80 }]
- backendRefs: [{ name: shop, port: 80 }]
";
    let (shop, office) = (Origin::start("shop"), Origin::start("office"));
    let services = service("shop", &[shop.address()]) + &service("office", &[office.address()]);
    let folder = Folder::of(&(GATEWAY.to_owned() + &services + &route("shop", HOST, rules)));
    let builder = arguments.iter().fold(Standalone::reading(&folder), |builder, argument| builder.argument(*argument));
    World { headgate: builder.start().await, _origins: [shop, office], _folder: folder }
}

fn shop(path: &str) -> Ask {
    client::get(HOST, path)
}

/// What a client could write to pass for another.
fn disguised() -> Ask {
    shop("/")
        .header("X-Forwarded-For", "203.0.113.7, 127.0.0.9")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "elsewhere.example.com")
        .header("X-Forwarded-Port", "444")
        .header("Forwarded", "for=203.0.113.7")
        .header("X-Real-IP", "203.0.113.7")
        .header("X-Request-Id", "mine")
        .header("X-Original-URL", "/admin")
        .header("X-Rewrite-URL", "/admin")
        .header("Headgate-Version", "secret")
}

#[test]
fn what_an_untrusted_client_forwards_is_removed_and_written_anew() {
    within(LIMIT, async {
        let World { headgate, .. } = &world(&[]).await;
        let answer = disguised().to(headgate.http).await;
        for (header, received) in [
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", HOST),
            ("host", HOST),
            ("x-forwarded-port", ""),
            ("forwarded", ""),
            ("x-real-ip", ""),
            ("x-original-url", ""),
            ("x-rewrite-url", ""),
            ("headgate-version", ""),
        ] {
            assert_eq!(answer.received(header), received, "{header}");
        }
        let (first, second) = (answer.received("x-request-id"), disguised().to(headgate.http).await);
        assert!(!first.is_empty() && first != "mine", "{first}");
        assert_ne!(first, second.received("x-request-id"), "each request has an id of its own");
        assert_eq!(answer.origin(), "shop", "a header does not route");
    });
}

#[test]
fn a_trusted_proxy_is_believed_and_the_client_is_the_right_most_address_beyond_it() {
    within(LIMIT, async {
        let World { headgate, .. } = &world(&["--trusted-proxies", "127.0.0.0/8,10.0.0.0/8"]).await;
        let answer = disguised().to(headgate.http).await;
        let forwarded = answer.received("x-forwarded-for").replace(' ', "");
        assert!(forwarded.starts_with("203.0.113.7"), "{forwarded}");
        for (header, received) in [
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "elsewhere.example.com"),
            ("x-request-id", "mine"),
            ("headgate-version", ""),
        ] {
            assert_eq!(answer.received(header), received, "{header}");
        }
    });
}

#[test]
fn the_path_is_normalised_once_before_routing_and_for_the_origin() {
    within(LIMIT, async {
        let World { headgate, .. } = &world(&[]).await;
        for (sent, received, origin) in [
            ("/a/../b", "/b", "shop"),
            ("/a/./b", "/a/b", "shop"),
            ("/a/b/..", "/a/", "shop"),
            ("/../../x", "/x", "shop"),
            ("/%7Euser", "/~user", "shop"),
            ("/a%2Fb", "/a%2Fb", "shop"),
            ("/a//b", "/a//b", "shop"),
            ("/a%20b", "/a%20b", "shop"),
            ("/a?path=/x/../y&e=%7E", "/a?path=/x/../y&e=%7E", "shop"),
            ("/%61dmin/x", "/admin/x", "office"),
            ("/a/../admin", "/admin", "office"),
            ("/a/%2e%2e/admin", "/admin", "office"),
            ("/a/%2E%2e/admin/./x", "/admin/x", "office"),
            ("/admin/..%2Fx", "/admin/..%2Fx", "office"),
        ] {
            let answer = shop(sent).to(headgate.http).await;
            let seen = (answer.json()["path"].as_str().map(ToOwned::to_owned), answer.origin().to_owned());
            assert_eq!(seen, (Some(received.to_owned()), origin.to_owned()), "{sent}");
        }
    });
}

#[test]
fn errors_speak_the_language_of_the_client() {
    within(LIMIT, async {
        let World { headgate, .. } = &world(&[]).await;
        let nowhere = client::get("nowhere.example.com", "/");

        let json = nowhere.clone().header("accept", "application/json").to(headgate.http).await;
        let told = (json.status, json.reason(), json.header("content-type"));
        assert_eq!(told, (404, "NoRoute", "application/problem+json"));
        assert_eq!(json.json()["status"], 404);

        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        let html = nowhere.clone().header("accept", browser).to(headgate.http).await;
        assert_eq!((html.status, html.reason()), (404, "NoRoute"));
        assert!(html.header("content-type").starts_with("text/html"), "{html:?}");
        assert!(html.text().contains("404"), "{}", html.text());

        let tool = nowhere.clone().header("accept", "*/*").to(headgate.http).await;
        assert_eq!(tool.header("content-type"), "application/problem+json", "curl accepts JSON");

        let grpc = nowhere.method(Method::POST).header("content-type", "application/grpc").header("te", "trailers");
        let mut connection = Connection::h2c(headgate.http).await.expect("h2c is spoken");
        let grpc = connection.send(&grpc).await.expect("an answer");
        assert_eq!((grpc.status, grpc.reason()), (200, "NoRoute"));
        assert!(!["", "0"].contains(&grpc.header("grpc-status")), "trailers-only: the status is a header: {grpc:?}");
        assert!(grpc.body.is_empty());

        let head = client::get("nowhere.example.com", "/").method(Method::HEAD).to(headgate.http).await;
        assert_eq!((head.status, head.body.len()), (404, 0));
    });
}

#[test]
fn too_many_or_too_large_headers_are_answered_431() {
    within(LIMIT, async {
        let World { headgate, .. } = &world(&[]).await;
        let large = shop("/").header("x-large", &"a".repeat(70_000)).to(headgate.http).await;
        assert_eq!((large.status, large.reason()), (431, "HeadersTooLarge"));
        let many = (0..150).fold(shop("/"), |ask, number| ask.header(&format!("x-{number}"), "a"));
        let many = many.to(headgate.http).await;
        assert_eq!(many.status, 431, "{many:?}");
        let enough = (0..50).fold(shop("/"), |ask, number| ask.header(&format!("x-{number}"), &"a".repeat(500)));
        assert_eq!(enough.to(headgate.http).await.status, 200);
    });
}

#[test]
fn malformed_requests_are_answered_400_and_never_reach_an_origin() {
    within(LIMIT, async {
        let World { headgate, _origins: [origin, _], .. } = &world(&[]).await;
        for request in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: shop.example.com\r\nHost: other.example.com\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : shop.example.com\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: shop.example.com\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            "POST / HTTP/1.1\r\nHost: shop.example.com\r\nContent-Length: minus\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: shop.example.com\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.0\r\nHost: shop.example.com\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "GET http://other.example.com/ HTTP/1.1\r\nHost: shop.example.com\r\n\r\n",
            "GET /%zz HTTP/1.1\r\nHost: shop.example.com\r\n\r\n",
            "GET /a%00b HTTP/1.1\r\nHost: shop.example.com\r\n\r\n",
        ] {
            let answer = client::raw(headgate.http, close(request).as_bytes()).await.expect("an answer");
            assert!(answer.starts_with("HTTP/1.1 400 "), "{request:?} was answered {answer:?}");
        }
        assert_eq!(origin.requests(), 0);

        let short = client::raw(headgate.http, b"GET / HTTP/1.0\r\n\r\n").await.expect("an answer, at once");
        assert!(short.starts_with("HTTP/1."), "{short:?}");
        let one =
            client::raw(headgate.http, b"GET / HTTP/1.0\r\nHost: shop.example.com\r\n\r\n").await.expect("an answer");
        assert!(one.contains(" 200 "), "{one:?}");
    });
}

/// Says that no other request follows, so that the server closes after its answer.
fn close(request: &str) -> String {
    request.replacen("\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1)
}

#[test]
fn bodies_streams_and_empty_answers_pass_as_they_are_in_both_versions() {
    within(LIMIT, async {
        let World { headgate, .. } = &world(&[]).await;
        for mut connection in [
            Connection::plain(headgate.http).await.expect("HTTP/1.1 is spoken"),
            Connection::h2c(headgate.http).await.expect("h2c is spoken"),
        ] {
            let version = connection.version();
            let body = "0123456789abcdef".repeat(16 * 1024);
            let post = connection.send(&shop("/").method(Method::POST).body(body.clone())).await.expect("an answer");
            assert_eq!(post.json()["body"], body, "{version:?}");
            let stream = connection.send(&shop("/stream/3")).await.expect("an answer");
            assert_eq!(stream.text(), "line 0\nline 1\nline 2\n", "{version:?}");
            for status in [204, 304, 404, 500] {
                let answer = connection.send(&shop(&format!("/status/{status}"))).await.expect("an answer");
                assert_eq!((answer.status, answer.origin(), answer.reason()), (status, "shop", ""), "{version:?}");
            }
            let head = connection.send(&shop("/").method(Method::HEAD)).await.expect("an answer");
            assert_eq!((head.status, head.body.len()), (200, 0), "{version:?}");
            assert_eq!(connection.send(&shop("/")).await.expect("the connection is kept").status, 200);
        }
    });
}

#[test]
fn an_error_of_the_proxy_keeps_the_connection() {
    within(LIMIT, async {
        let World { headgate, .. } = &world(&[]).await;
        let mut connection = Connection::plain(headgate.http).await.expect("HTTP/1.1 is spoken");
        for _ in 0..3 {
            let answer = connection.send(&client::get("nowhere.example.com", "/")).await.expect("an answer");
            assert_eq!(answer.status, 404);
            assert!(connection.is_open().await);
        }
        assert_eq!(connection.send(&shop("/")).await.expect("an answer").status, 200);
    });
}

#[test]
fn commands_of_an_origin_never_reach_the_client() {
    within(LIMIT, async {
        let World { headgate, .. } = &world(&[]).await;
        let answer = headgate.get(HOST, "/commands").await;
        assert_eq!((answer.status, answer.origin()), (200, "shop"));
        assert_eq!((answer.header("headgate-example"), answer.header("cache-tag")), ("", ""));
    });
}

#[test]
fn a_host_that_the_shown_certificate_does_not_cover_is_misdirected() {
    let gateway = r"
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: public, namespace: default }
spec:
  gatewayClassName: headgate
  listeners:
    - name: $name
      protocol: HTTPS
      port: 443
      hostname: $name.example.com
      tls: { certificateRefs: [{ name: $name }] }
    - name: other
      protocol: HTTPS
      port: 443
      hostname: other.example.com
      tls: { certificateRefs: [{ name: other }] }
---
";
    within(LIMIT, async {
        let authority = Authority::new("clients trust me");
        let origin = Origin::start("shop");
        let text = fill(gateway, &[("name", &"shop")])
            + &secret("shop", &authority.issue(&["shop.example.com"]))
            + &secret("other", &authority.issue(&["other.example.com"]))
            + &service("shop", &[origin.address()])
            + &route("shop", HOST, "- backendRefs: [{ name: shop, port: 80 }]")
            + &route("other", "other.example.com", "- backendRefs: [{ name: shop, port: 80 }]");
        let folder = Folder::of(&text);
        let headgate = Standalone::reading(&folder).start().await;
        for (protocol, version) in [("http/1.1", Version::HTTP_11), ("h2", Version::HTTP_2)] {
            let config = authority.client(&[protocol]);
            let mut connection = Connection::tls(headgate.https, HOST, config).await.expect("TLS is spoken");
            assert_eq!(connection.version(), version);
            let answer = connection.send(&shop("/")).await.expect("an answer");
            assert_eq!((answer.status, answer.received("x-forwarded-proto")), (200, "https".to_owned()));
            let other = connection.send(&client::get("other.example.com", "/")).await.expect("an answer");
            assert_eq!((other.status, other.reason()), (421, "Misdirected"), "{version:?}");
        }
    });
}
