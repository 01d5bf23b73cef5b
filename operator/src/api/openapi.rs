//! What the API says about itself: exactly the paths that a process serves.

use serde_json::{Map, Value, json};

/// A path that is served.
#[derive(Clone, Debug)]
pub struct Path {
    /// The path. What is in braces is a parameter.
    pub path: &'static str,
    /// With which method.
    pub method: Method,
    /// One line about it.
    pub summary: &'static str,
    /// Its parameters: name, whether it is required, and one line. Those that the path does not have are of the query.
    pub parameters: &'static [(&'static str, bool, &'static str)],
    /// The statuses of its errors, each a problem document.
    pub errors: &'static [u16],
}

/// How a path is asked.
#[derive(Clone, Copy, Debug)]
pub enum Method {
    /// `GET`.
    Get,
    /// `POST` with a JSON object of these texts: name and one line, all of them required.
    Post(&'static [(&'static str, &'static str)]),
}

/// Status of all objects.
pub const STATUS: Path = Path {
    path: "/v1/status",
    method: Method::Get,
    summary: "A v1 List of every object that headgate governs with its status, and the proxies",
    parameters: &[("namespace", false, "Only objects of this namespace")],
    errors: &[401, 403, 503],
};

/// This document.
pub const OPENAPI: Path =
    Path { path: "/openapi.json", method: Method::Get, summary: "This document", parameters: &[], errors: &[] };

/// The document about these paths.
pub fn document(paths: &[Path]) -> Value {
    let paths: Map<String, Value> = paths.iter().map(|path| (path.path.to_owned(), describe(path))).collect();
    json!({
        "openapi": "3.1.0",
        "info": { "title": "headgate", "version": env!("CARGO_PKG_VERSION") },
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": {
                "Problem": {
                    "type": "object",
                    "properties": {
                        "status": { "type": "integer" },
                        "title": { "type": "string" },
                        "detail": { "type": "string" },
                    },
                },
            },
        },
        "security": [{ "token": [] }],
    })
}

fn describe(path: &Path) -> Value {
    let Path { path, method, summary, parameters, errors } = path;
    let parameters: Vec<Value> = parameters
        .iter()
        .map(|(name, required, description)| {
            let place = if path.contains(&format!("{{{name}}}")) { "path" } else { "query" };
            json!({
                "name": name, "in": place, "required": required, "description": description,
                "schema": { "type": "string" },
            })
        })
        .collect();
    let good = json!({
        "description": summary,
        "content": { "application/json": { "schema": { "type": "object" } } },
    });
    let mut responses = Map::from_iter([("200".to_owned(), good)]);
    for error in *errors {
        let problem = json!({
            "description": "An error",
            "content": {
                "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } },
            },
        });
        responses.insert(error.to_string(), problem);
    }
    let mut asked = json!({ "summary": summary, "parameters": parameters, "responses": responses });
    match method {
        Method::Get => json!({ "get": asked }),
        Method::Post(texts) => {
            let properties: Map<String, Value> = texts
                .iter()
                .map(|(name, description)| {
                    ((*name).to_owned(), json!({ "type": "string", "description": description }))
                })
                .collect();
            let required: Vec<&str> = texts.iter().map(|(name, _)| *name).collect();
            let schema = json!({
                "type": "object", "properties": properties, "required": required, "additionalProperties": false,
            });
            asked["requestBody"] = json!({ "required": true, "content": { "application/json": { "schema": schema } } });
            json!({ "post": asked })
        }
    }
}
