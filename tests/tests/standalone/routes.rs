//! Which rule a request meets, and what its filters do.

use std::{collections::BTreeMap, time::Duration};

use headgate_tests::{
    certificates::Authority,
    client::{self, Ask, Connection},
    folder::Folder,
    manifests::{GATEWAY, fill, pool, route, secret, service},
    origin::Origin,
    standalone::Standalone,
    within,
};
use http::Method;

const LIMIT: Duration = Duration::from_mins(1);

/// A world of one route, whose backends are Services named like the origins behind them.
async fn world(rules: &str, names: &[&str]) -> (Standalone, Vec<Origin>, Folder) {
    let mut origins = Vec::new();
    let mut text = GATEWAY.to_owned() + &route("shop", "shop.example.com", rules);
    for name in names {
        let origin = Origin::start(name);
        text.push_str(&service(name, &[origin.address()]));
        origins.push(origin);
    }
    let folder = Folder::of(&text);
    (Standalone::reading(&folder).start().await, origins, folder)
}

fn shop(path: &str) -> Ask {
    client::get("shop.example.com", path)
}

#[test]
fn path_method_header_and_query_pick_the_most_specific_rule() {
    let rules = r#"
- backendRefs: [{ name: all, port: 80 }]
- matches: [{ path: { type: PathPrefix, value: /api } }]
  backendRefs: [{ name: api, port: 80 }]
- matches: [{ path: { type: PathPrefix, value: /api/v2 } }]
  backendRefs: [{ name: api-two, port: 80 }]
- matches: [{ path: { type: Exact, value: /api/v2/health } }]
  backendRefs: [{ name: exact, port: 80 }]
- matches: [{ path: { type: RegularExpression, value: "/items/[0-9]+" } }]
  backendRefs: [{ name: items, port: 80 }]
- matches: [{ path: { type: PathPrefix, value: /api }, method: POST }]
  backendRefs: [{ name: writes, port: 80 }]
- matches: [{ path: { type: PathPrefix, value: /api }, headers: [{ name: X-Version, value: beta }] }]
  backendRefs: [{ name: beta, port: 80 }]
- matches: [{ path: { type: PathPrefix, value: /api }, queryParams: [{ name: debug, value: "1" }] }]
  backendRefs: [{ name: debug, port: 80 }]
"#;
    within(LIMIT, async {
        let names = ["all", "api", "api-two", "exact", "items", "writes", "beta", "debug"];
        let (headgate, _origins, _folder) = world(rules, &names).await;
        for (ask, origin) in [
            (shop("/"), "all"),
            (shop("/apis"), "all"),
            (shop("/API"), "all"),
            (shop("/api"), "api"),
            (shop("/api/"), "api"),
            (shop("/api/users?debug=2"), "api"),
            (shop("/api/v2"), "api-two"),
            (shop("/api/v2/users"), "api-two"),
            (shop("/api/v2/health"), "exact"),
            (shop("/api/v2/health/"), "api-two"),
            (shop("/items/17"), "items"),
            (shop("/items/seventeen"), "all"),
            (shop("/items/17/parts"), "all"),
            (shop("/api").method(Method::POST), "writes"),
            (shop("/api").method(Method::PUT), "api"),
            (shop("/api").header("X-Version", "beta"), "beta"),
            (shop("/api").header("X-Version", "Beta"), "api"),
            (shop("/api?debug=1"), "debug"),
            (shop("/api?debug=1").header("X-Version", "beta"), "beta"),
        ] {
            let answer = ask.to(headgate.http).await;
            assert_eq!((answer.status, answer.origin()), (200, origin), "{ask:?}");
        }
    });
}

#[test]
fn hosts_are_exact_before_wildcards_and_a_port_in_the_host_changes_nothing() {
    within(LIMIT, async {
        let (one, two) = (Origin::start("exact"), Origin::start("wild"));
        let text = GATEWAY.to_owned()
            + &service("exact", &[one.address()])
            + &service("wild", &[two.address()])
            + &route("exact", "www.example.com", "- backendRefs: [{ name: exact, port: 80 }]")
            + &route("wild", "\"*.example.com\"", "- backendRefs: [{ name: wild, port: 80 }]");
        let folder = Folder::of(&text);
        let headgate = Standalone::reading(&folder).start().await;
        for (host, status, origin) in [
            ("www.example.com", 200, "exact"),
            ("WWW.Example.COM", 200, "exact"),
            ("www.example.com:8080", 200, "exact"),
            ("api.example.com", 200, "wild"),
            ("a.b.example.com", 200, "wild"),
            ("example.com", 404, ""),
            ("wwwexample.com", 404, ""),
        ] {
            let answer = headgate.get(host, "/").await;
            assert_eq!((answer.status, answer.origin()), (status, origin), "{host}");
        }
    });
}

#[test]
fn traffic_follows_the_weights() {
    let rules = r"
- backendRefs:
    - { name: three, port: 80, weight: 3 }
    - { name: one, port: 80, weight: 1 }
    - { name: none, port: 80, weight: 0 }
";
    within(LIMIT, async {
        let (headgate, _origins, _folder) = world(rules, &["three", "one", "none"]).await;
        let mut seen = BTreeMap::<String, u64>::new();
        let mut connection = client::Connection::plain(headgate.http).await.expect("standalone listens");
        for _ in 0..400 {
            let answer = connection.send(&shop("/")).await.expect("an answer");
            *seen.entry(answer.origin().to_owned()).or_default() += 1;
        }
        // Five standard deviations around 300.
        let three = seen["three"];
        assert!((255..=345).contains(&three), "{seen:?}");
        assert_eq!(
            seen.into_iter().collect::<Vec<_>>(),
            [("one".to_owned(), 400 - three), ("three".to_owned(), three)]
        );
    });
}

#[test]
fn filters_change_headers_paths_and_hosts_and_redirect() {
    let rules = r"
- matches: [{ path: { type: PathPrefix, value: /headers } }]
  filters:
    - type: RequestHeaderModifier
      requestHeaderModifier:
        set: [{ name: X-Set, value: ours }]
        add: [{ name: X-Add, value: more }]
        remove: [X-Remove]
    - type: ResponseHeaderModifier
      responseHeaderModifier: { set: [{ name: X-Answer, value: ours }], remove: [X-Origin] }
  backendRefs: [{ name: one, port: 80 }]
- matches: [{ path: { type: PathPrefix, value: /old } }]
  filters:
    - type: URLRewrite
      urlRewrite: { hostname: inside.example.com, path: { type: ReplacePrefixMatch, replacePrefixMatch: /new } }
  backendRefs: [{ name: one, port: 80 }]
- matches: [{ path: { type: PathPrefix, value: /whole } }]
  filters:
    - type: URLRewrite
      urlRewrite: { path: { type: ReplaceFullPath, replaceFullPath: /other } }
  backendRefs: [{ name: one, port: 80 }]
- matches: [{ path: { type: PathPrefix, value: /moved } }]
  filters:
    - type: RequestRedirect
      requestRedirect: { scheme: https, hostname: www.example.com, statusCode: 301 }
";
    within(LIMIT, async {
        let (headgate, _origins, _folder) = world(rules, &["one"]).await;
        let ask = shop("/headers").header("x-set", "theirs").header("x-add", "theirs").header("x-remove", "theirs");
        let answer = ask.to(headgate.http).await;
        assert_eq!(answer.received("x-set"), "ours");
        assert_eq!(answer.received("x-add").replace(", ", ","), "theirs,more");
        assert_eq!(answer.received("x-remove"), "");
        assert_eq!((answer.header("x-answer"), answer.origin()), ("ours", ""));

        for (sent, received) in [
            ("/old", "/new"),
            ("/old/page?q=1", "/new/page?q=1"),
            ("/old/", "/new/"),
            ("/whole/page?q=1", "/other?q=1"),
        ] {
            assert_eq!(headgate.get("shop.example.com", sent).await.json()["path"], received, "{sent}");
        }
        assert_eq!(headgate.get("shop.example.com", "/old").await.received("host"), "inside.example.com");

        let moved = headgate.get("shop.example.com", "/moved/page?q=1").await;
        assert_eq!((moved.status, moved.header("location")), (301, "https://www.example.com/moved/page?q=1"));
    });
}

#[test]
fn a_backend_that_does_not_exist_answers_500_for_its_share_alone() {
    let rules = r"
- matches: [{ path: { type: PathPrefix, value: /gone } }]
  backendRefs: [{ name: nobody, port: 80 }]
- backendRefs: [{ name: one, port: 80 }]
";
    within(LIMIT, async {
        let (headgate, _origins, folder) = world(rules, &["one"]).await;
        let answer = headgate.get("shop.example.com", "/gone").await;
        assert_eq!((answer.status, answer.reason()), (500, "RefNotResolved"));
        assert_eq!(headgate.get("shop.example.com", "/").await.status, 200);
        headgate.route_condition("shop", ("ResolvedRefs", "False", "BackendNotFound"), &["nobody"]).await;

        let late = Origin::start("late");
        folder.write("late.yaml", &service("nobody", &[late.address()]));
        headgate.answers("shop.example.com", "/gone", 200, "late").await;
        headgate.route_condition("shop", ("ResolvedRefs", "True", ""), &[]).await;
    });
}

#[test]
fn routes_win_over_the_hosts_of_pools() {
    within(LIMIT, async {
        let (routed, pooled) = (Origin::start("routed"), Origin::start("pooled"));
        let rules =
            "- matches: [{ path: { type: PathPrefix, value: /api } }]\n  backendRefs: [{ name: routed, port: 80 }]";
        let spec = fill(
            "hosts: [shop.example.com]\norigins: [{ name: a, endpoints: [\"$address\"] }]",
            &[("address", &pooled.address())],
        );
        let folder = Folder::of(&(service("routed", &[routed.address()]) + &pool("shop", &spec)));
        let headgate = Standalone::reading(&folder).start().await;
        headgate.answers("shop.example.com", "/api", 200, "pooled").await;

        folder.write("route.yaml", &(GATEWAY.to_owned() + &route("shop", "shop.example.com", rules)));
        headgate.answers("shop.example.com", "/api", 200, "routed").await;
        folder.remove("route.yaml");
        headgate.answers("shop.example.com", "/api", 200, "pooled").await;
    });
}

#[test]
fn a_route_of_another_namespace_needs_the_listeners_leave_and_a_grant_for_the_backend() {
    let text = r"
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: guest, namespace: guests }
spec:
  parentRefs: [{ name: public, namespace: default }]
  hostnames: [guest.example.com]
  rules: [{ backendRefs: [{ name: one, namespace: default, port: 80 }] }]
---
";
    let grant = r"
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: { name: guests, namespace: default }
spec:
  from: [{ group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: guests }]
  to: [{ group: '', kind: Service }]
";
    within(LIMIT, async {
        let origin = Origin::start("one");
        let open = GATEWAY.replace("port: 80 }", "port: 80, allowedRoutes: { namespaces: { from: All } } }");
        let folder = Folder::of(&(service("one", &[origin.address()]) + text));
        folder.write("gateway.yaml", GATEWAY);
        let headgate = Standalone::reading(&folder).start().await;
        headgate.answers("guest.example.com", "/", 404, "").await;
        headgate.route_condition("guest", ("Accepted", "False", "NotAllowedByListeners"), &[]).await;

        folder.write("gateway.yaml", &open);
        let answer = headgate.answers("guest.example.com", "/", 500, "").await;
        assert_eq!(answer.reason(), "RefNotResolved");
        headgate.route_condition("guest", ("ResolvedRefs", "False", "RefNotPermitted"), &["ReferenceGrant"]).await;

        folder.write("grant.yaml", grant);
        headgate.answers("guest.example.com", "/", 200, "one").await;
        folder.remove("grant.yaml");
        headgate.answers("guest.example.com", "/", 500, "").await;
    });
}

#[test]
fn an_ingress_is_served_on_http_and_with_its_certificate_on_https() {
    let ingress = r"
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: shop, namespace: default }
spec:
  ingressClassName: headgate
  tls: [{ hosts: [shop.example.com], secretName: shop }]
  rules:
    - host: shop.example.com
      http:
        paths:
          - { path: /, pathType: Prefix, backend: { service: { name: all, port: { number: 80 } } } }
          - { path: /api, pathType: Prefix, backend: { service: { name: api, port: { name: http } } } }
          - { path: /api/health, pathType: Exact, backend: { service: { name: exact, port: { number: 80 } } } }
---
";
    within(LIMIT, async {
        let authority = Authority::new("clients trust me");
        let origins = ["all", "api", "exact"].map(Origin::start);
        let services: String = origins.iter().map(|origin| service(origin.name(), &[origin.address()])).collect();
        let text = ingress.to_owned() + &services + &secret("shop", &authority.issue(&["shop.example.com"]));
        let folder = Folder::of(&text);
        let headgate = Standalone::reading(&folder).start().await;
        headgate.answers("shop.example.com", "/", 200, "all").await;
        let config = authority.client(&["h2", "http/1.1"]);
        let mut secure =
            Connection::tls(headgate.https, "shop.example.com", config).await.expect("TLS with the certificate");
        for (path, origin) in [
            ("/", "all"),
            ("/apis", "all"),
            ("/api", "api"),
            ("/api/users", "api"),
            ("/api/health", "exact"),
            ("/api/health/deep", "api"),
        ] {
            assert_eq!(shop(path).to(headgate.http).await.origin(), origin, "{path}");
            assert_eq!(secure.send(&shop(path)).await.expect("an answer").origin(), origin, "{path} over TLS");
        }

        folder.write("world.yaml", &services);
        headgate.answers("shop.example.com", "/", 404, "").await;
    });
}

#[test]
fn a_host_stays_with_the_namespace_that_had_it_first_and_the_loser_is_told_who_holds_it() {
    within(LIMIT, async {
        let (first, second) = (Origin::start("first"), Origin::start("second"));
        let spec = |origin: &Origin, hosts: &str| {
            fill(
                "hosts: [$hosts]\norigins: [{ name: a, endpoints: [\"$address\"] }]",
                &[("hosts", &hosts), ("address", &origin.address())],
            )
        };
        let folder = Folder::new();
        folder.write("first.yaml", &pool("first", &spec(&first, "shop.example.com")));
        let headgate = Standalone::reading(&folder).start().await;
        headgate.answers("shop.example.com", "/", 200, "first").await;

        let later = pool("second", &spec(&second, "own.example.com, shop.example.com"));
        folder.write("second.yaml", &later.replace("namespace: default", "namespace: aaa"));
        headgate.answers("own.example.com", "/", 200, "second").await;
        headgate
            .tells("OriginPool", "second", ("Degraded", "True", "HostHeld"), &["shop.example.com", "default"])
            .await;
        headgate.tells("OriginPool", "second", ("Accepted", "True", ""), &[]).await;
        assert_eq!(headgate.get("shop.example.com", "/").await.origin(), "first");

        folder.remove("first.yaml");
        headgate.answers("shop.example.com", "/", 200, "second").await;
    });
}
