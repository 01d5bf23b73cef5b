//! What people are told about a request.

use headgate_snapshot as wire;

use super::fixtures::{
    HTTP, HTTPS, arrival, compile, default_listeners, gateway, get, health_check, origin, pool, pool_key, prefix,
    probe, route,
};
use crate::{Chance, Explanation, Millis, ProbeResult};

fn told(explanation: &Explanation) -> String {
    let steps =
        explanation.steps.iter().map(|step| format!("{}: {} [{}]", step.stage, step.chosen, step.why.join("; ")));
    let lines: Vec<String> = steps.chain([format!("{:?}", explanation.outcome)]).collect();
    lines.join("\n")
}

#[test]
fn every_decision_is_told_in_the_order_of_enforcement() {
    let body = wire::OriginPool {
        origins: vec![origin("eu", 0, 100, &["10.0.0.1"]), origin("asia", 1, 100, &["10.0.0.2", "10.0.0.3"])],
        health_check: Some(health_check()),
        ..Default::default()
    };
    let plan = compile([
        default_listeners(),
        gateway("public", &[""]),
        route("shop", &["shop.test"], vec![prefix("/chat", "chat")]),
        pool("chat", body),
    ]);
    probe(plan.pool(&pool_key("chat")).unwrap(), Millis(0), |address| match address {
        "10.0.0.1" => Some(ProbeResult::Failed),
        "10.0.0.2" => Some(ProbeResult::Passed),
        _ => None,
    });
    let request = get("shop.test", "/chat/1");
    let explanation = plan.explain(HTTP, &request, &arrival(&request), Chance::new(1));
    assert_eq!(
        told(&explanation),
        "listener: Gateway/default/public  [the most specific hostname of HTTP port 80 for shop.test]\n\
         route: HTTPRoute/default/shop [the host is listed as it is]\n\
         match: rules[0].matches[0] [path begins with /chat]\n\
         originPool: OriginPool/default/chat [backend OriginPool/default/chat, weight 1; \
         origin eu: priority 0, weight 100, 0 of 1 healthy, 0 not yet probed: takes none now; \
         origin asia: priority 1, weight 100, 1 of 2 healthy, 1 not yet probed: takes traffic]\n\
         Forwarded { pool: \"OriginPool/default/chat\", origin: \"asia\", address: 10.0.0.2:80, \
         path: \"/chat/1\", host: \"shop.test\" }"
    );
    let json = serde_json::to_string(&explanation).unwrap();
    assert_eq!(serde_json::from_str::<Explanation>(&json).unwrap(), explanation);
}

#[test]
fn a_request_that_nothing_serves_is_told_so() {
    let plan = compile([gateway("public", &[""])]);
    for (frontend, expected) in [
        (HTTP, "listener: HTTP port 80 [no route that is attached here serves GET shop.test/]"),
        (HTTPS, "listener: none [no listener is open for HTTPS port 443]"),
    ] {
        let request = get("shop.test", "/");
        let explanation = plan.explain(frontend, &request, &arrival(&request), Chance::new(1));
        assert!(told(&explanation).starts_with(expected), "{}", told(&explanation));
        assert!(told(&explanation).contains("reason: \"NoRoute\""));
    }
}
