//! What an API server serves: kinds and their paths. Pure.

use serde_json::Value;

/// The media type that gives all groups in one answer.
pub(super) const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// One kind in the version that the API server prefers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resource {
    kind: String,
    plural: String,
    /// `/api/v1` or `/apis/GROUP/VERSION`.
    root: String,
    namespaced: bool,
}

impl Resource {
    /// True for its kind (`OriginPool`) and its plural (`originpools`).
    pub(super) fn is(&self, name: &str) -> bool {
        self.kind == name || self.plural == name
    }

    /// The collection in a namespace; an empty one means all.
    pub(super) fn path(&self, namespace: &str) -> String {
        let Self { root, plural, .. } = self;
        if self.namespaced && !namespace.is_empty() {
            format!("{root}/namespaces/{namespace}/{plural}")
        } else {
            format!("{root}/{plural}")
        }
    }
}

/// The resources of an `APIGroupDiscoveryList`, those of each group in its preferred version first.
pub(super) fn read(list: &Value) -> Vec<Resource> {
    let each = |value: &Value, field: &str| value[field].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut resources = Vec::new();
    for group in each(list, "items") {
        let name = text(&group["metadata"]["name"]);
        for version in each(&group, "versions") {
            let root = match (name.as_str(), text(&version["version"])) {
                ("", version) => format!("/api/{version}"),
                (group, version) => format!("/apis/{group}/{version}"),
            };
            resources.extend(each(&version, "resources").iter().map(|resource| Resource {
                kind: text(&resource["responseKind"]["kind"]),
                plural: text(&resource["resource"]),
                root: root.clone(),
                namespaced: resource["scope"] == "Namespaced",
            }));
        }
    }
    resources
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_kind_has_a_path_in_a_namespace_in_all_and_in_none() {
        let resource = |plural: &str, kind: &str, scope: &str| json!({ "resource": plural, "responseKind": { "kind": kind }, "scope": scope });
        let list = json!({ "items": [
            { "metadata": {}, "versions": [{ "version": "v1", "resources": [
                resource("pods", "Pod", "Namespaced"), resource("nodes", "Node", "Cluster"),
            ] }] },
            { "metadata": { "name": "apps" }, "versions": [{ "version": "v1", "resources": [
                resource("deployments", "Deployment", "Namespaced"),
            ] }] },
        ] });
        let resources = read(&list);
        for (name, namespace, path) in [
            ("Pod", "a", "/api/v1/namespaces/a/pods"),
            ("pods", "", "/api/v1/pods"),
            ("Node", "", "/api/v1/nodes"),
            ("Node", "a", "/api/v1/nodes"),
            ("Deployment", "a", "/apis/apps/v1/namespaces/a/deployments"),
        ] {
            let found = resources.iter().find(|resource| resource.is(name));
            assert_eq!(
                found.map(|resource| resource.path(namespace)).as_deref(),
                Some(path),
                "{name} in `{namespace}`"
            );
        }
    }
}
