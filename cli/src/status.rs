//! `headgate status`: all objects at a glance.

use std::io::Write as _;
use std::process::ExitCode;

use anstyle::Style;
use serde_json::Value;

use crate::client::Api;
use crate::cluster::Access;
use crate::manifest::object;
use crate::terminal::{BAD, GOOD, NOTABLE, QUIET};

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    name: String,
    ready: String,
    healthy: String,
    active: String,
    /// What there is to know beside, without being wrong.
    figures: String,
    /// What is wrong.
    note: String,
}

const TITLES: [&str; 5] = ["NAME", "READY", "HEALTHY", "ACTIVE", "NOTE"];

/// Prints the table.
pub async fn run(api: Api, access: Access) -> anyhow::Result<ExitCode> {
    let list = match api.cluster(&access).await? {
        Some(cluster) => cluster.status().await?,
        None => api.get("/v1/status", &[]).await?,
    };
    let rows: Vec<Row> = list["items"].as_array().into_iter().flatten().map(row).collect();
    let mut out = anstream::stdout().lock();
    if rows.is_empty() {
        writeln!(out, "{QUIET}there is no object that headgate governs{QUIET:#}")?;
    } else {
        for (line, style) in table(&rows) {
            writeln!(out, "{style}{line}{style:#}")?;
        }
    }
    for proxy in list["proxies"].as_array().into_iter().flatten() {
        for trouble in proxy["troubles"].as_array().into_iter().flatten() {
            let (name, reason, message) = (text(&proxy["name"]), text(&trouble["reason"]), text(&trouble["message"]));
            writeln!(out, "{BAD}proxy {name}: {reason}: {message}{BAD:#}")?;
        }
    }
    for complaint in list["complaints"].as_array().into_iter().flatten() {
        writeln!(out, "{NOTABLE}{}{NOTABLE:#}", text(complaint))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn row(item: &Value) -> Row {
    let metadata = &item["metadata"];
    let key = headgate_translate::ObjectKey::new(text(&metadata["namespace"]), text(&metadata["name"]));
    let status = &item["status"];
    // A route has its conditions for each parent; the first parent that is not ready says most.
    let parents: Vec<&Value> =
        status["parents"].as_array().into_iter().flatten().map(|parent| &parent["conditions"]).collect();
    let conditions = match parents.as_slice() {
        [] => &status["conditions"],
        [first, ..] => parents
            .iter()
            .find(|conditions| condition(conditions, "Ready").is_none_or(|it| it["status"] != "True"))
            .unwrap_or(first),
    };
    let summary = condition(conditions, "Ready").or_else(|| condition(conditions, "Accepted"));
    let ready = summary.map_or("-", |summary| text(&summary["status"]));
    let note = match summary.filter(|summary| summary["status"] != "True") {
        Some(obstacle) => sentence(obstacle),
        // The schema of an Ingress has no place for conditions.
        None if summary.is_none() && item["kind"] == "Ingress" => {
            format!("told by events: kubectl describe ingress --namespace {} {}", key.namespace, key.name)
        }
        None => ["Degraded", "PartiallyInvalid", "Enforced"]
            .into_iter()
            .filter_map(|wanted| condition(conditions, wanted))
            .filter(|found| found["status"] != "False")
            .map(sentence)
            .collect::<Vec<_>>()
            .join("; "),
    };
    let figure = |name: &str| status[name].as_str().unwrap_or("-").to_owned();
    Row {
        name: object::label(text(&item["kind"]), &key),
        ready: ready.to_owned(),
        healthy: figure("healthy"),
        active: figure("active"),
        figures: [of_the_last_minute(&status["lastMinute"]), of_the_room(status)].concat(),
        note,
    }
}

/// What a limit did.
fn of_the_last_minute(minute: &Value) -> String {
    let (Some(allowed), Some(refused)) = (minute["allowed"].as_u64(), minute["refused"].as_u64()) else {
        return String::new();
    };
    let reason = minute["topReason"].as_str().map_or_else(String::new, |reason| format!(" ({reason})"));
    format!("last minute: {allowed} allowed, {refused} refused{reason}")
}

/// Who is in a room, and who waits.
fn of_the_room(status: &Value) -> String {
    let (Some(active), Some(queued)) = (status["active"].as_u64(), status["queued"].as_u64()) else {
        return String::new();
    };
    let wait = status["waitSeconds"].as_u64().map_or_else(String::new, |seconds| format!(" for {seconds} s"));
    format!("{}: {active} inside, {queued} waiting{wait}", text(&status["state"]))
}

fn condition<'v>(conditions: &'v Value, wanted: &str) -> Option<&'v Value> {
    conditions.as_array()?.iter().find(|condition| condition["type"] == wanted)
}

fn sentence(condition: &Value) -> String {
    match (text(&condition["reason"]), text(&condition["message"])) {
        (reason, "") => reason.to_owned(),
        (reason, message) => format!("{reason}: {message}"),
    }
}

/// Lines of equal columns, each with its colour.
fn table(rows: &[Row]) -> Vec<(String, Style)> {
    let cells = |row: &Row| -> [String; 5] {
        let Row { name, ready, healthy, active, figures, note } = row.clone();
        let told: Vec<String> = [note, figures].into_iter().filter(|text| !text.is_empty()).collect();
        [name, ready, healthy, active, told.join("; ")]
    };
    let mut lines = vec![(TITLES.map(str::to_owned), Style::new().bold())];
    lines.extend(rows.iter().map(|row| {
        let style = match (row.ready.as_str(), row.note.as_str()) {
            ("True", "") => GOOD,
            ("True", _) => NOTABLE,
            ("False", _) => BAD,
            _ => Style::new(),
        };
        (cells(row), style)
    }));
    let width = |column: usize| lines.iter().map(|(cells, _)| cells[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 5] = std::array::from_fn(width);
    let aligned = lines.iter().map(|(cells, style)| {
        let padded: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        (padded.join("  ").trim_end().to_owned(), *style)
    });
    aligned.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_object_has_one_line_that_tells_its_state_first() {
        let pool = json!({
            "kind": "OriginPool", "metadata": { "name": "chat", "namespace": "default" },
            "status": {
                "healthy": "3/4", "active": "eu",
                "conditions": [
                    { "type": "Ready", "status": "True", "reason": "Ready", "message": "" },
                    { "type": "Degraded", "status": "True", "reason": "OriginUnhealthy", "message": "eu: 1 of 2" },
                ],
            },
        });
        let route = json!({
            "kind": "HTTPRoute", "metadata": { "name": "shop", "namespace": "web" },
            "status": { "parents": [{ "conditions": [
                { "type": "Ready", "status": "False", "reason": "BackendNotFound", "message": "no Service x" },
            ] }] },
        });
        let ingress = json!({ "kind": "Ingress", "metadata": { "name": "old", "namespace": "web" }, "status": {} });
        let limit = json!({
            "kind": "RateLimit", "metadata": { "name": "login", "namespace": "default" },
            "status": {
                "conditions": [{ "type": "Ready", "status": "True", "reason": "Ready", "message": "" }],
                "lastMinute": { "allowed": 100, "refused": 37, "topReason": "OverLimit" },
            },
        });
        let room = json!({
            "kind": "WaitingRoom", "metadata": { "name": "sale", "namespace": "default" },
            "status": {
                "conditions": [{ "type": "Ready", "status": "True", "reason": "Ready", "message": "" }],
                "state": "Queueing", "active": 50, "queued": 7, "waitSeconds": 90,
            },
        });
        let lines: Vec<String> =
            table(&[&pool, &route, &ingress, &limit, &room].map(row)).into_iter().map(|(line, _)| line).collect();
        assert_eq!(
            lines,
            [
                "NAME                READY  HEALTHY  ACTIVE  NOTE",
                "OriginPool/chat     True   3/4      eu      OriginUnhealthy: eu: 1 of 2",
                "HTTPRoute/web/shop  False  -        -       BackendNotFound: no Service x",
                "Ingress/web/old     -      -        -       told by events: kubectl describe ingress --namespace web old",
                "RateLimit/login     True   -        -       last minute: 100 allowed, 37 refused (OverLimit)",
                "WaitingRoom/sale    True   -        -       Queueing: 50 inside, 7 waiting for 90 s",
            ]
        );
    }
}
