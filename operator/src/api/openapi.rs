//! What the API says about itself: exactly the paths that a process serves.

use serde_json::{Map, Value, json};

/// A path that is served, with `GET`.
#[derive(Clone, Debug)]
pub struct Path {
    /// The path.
    pub path: &'static str,
    /// One line about it.
    pub summary: &'static str,
    /// Its query parameters: name, whether it is required, and one line.
    pub parameters: &'static [(&'static str, bool, &'static str)],
    /// The statuses of its errors, each a problem document.
    pub errors: &'static [u16],
}

/// Status of all objects.
pub const STATUS: Path = Path {
    path: "/v1/status",
    summary: "A v1 List of every object that headgate governs with its status, and the proxies",
    parameters: &[("namespace", false, "Only objects of this namespace")],
    errors: &[401, 403, 503],
};

/// This document.
pub const OPENAPI: Path = Path { path: "/openapi.json", summary: "This document", parameters: &[], errors: &[] };

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
    let Path { path: _, summary, parameters, errors } = path;
    let parameters: Vec<Value> = parameters
        .iter()
        .map(|(name, required, description)| {
            json!({
                "name": name, "in": "query", "required": required, "description": description,
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
    json!({ "get": { "summary": summary, "parameters": parameters, "responses": responses } })
}
