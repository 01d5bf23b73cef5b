"""Manifests for headgate: one Gateway, one Service, and N HTTPRoutes with a host each."""
import os
import tempfile

from lab import process

SHARED = """\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{ name: public, namespace: default }}
spec:
  gatewayClassName: headgate
  listeners:
    - {{ name: http, protocol: HTTP, port: 80 }}
---
apiVersion: v1
kind: Service
metadata: {{ name: origin, namespace: default }}
spec:
  ports:
    - {{ name: http, port: 80, targetPort: {origin} }}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: origin-1
  namespace: default
  labels: {{ kubernetes.io/service-name: origin }}
addressType: IPv4
ports:
  - {{ name: http, port: {origin}, protocol: TCP }}
endpoints:
  - addresses: [127.0.0.1]
    conditions: {{ ready: true }}
"""

ROUTE = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{ name: route-{index:05}, namespace: default }}
spec:
  parentRefs: [{{ name: public }}]
  hostnames: [h{index}.bench.test]
  rules:
    - backendRefs: [{{ name: origin, port: 80 }}]
"""

LIMIT = """\
apiVersion: headgate.dev/v1alpha1
kind: RateLimit
metadata: {{ name: clients, namespace: default }}
spec:
  key: [{{ header: x-client }}]
  limit: {limit}
  period: 1s
  {more}
"""

# An edit is one response header, which a client sees as soon as the edit is enforced.
EDITED = """\
      filters:
        - type: ResponseHeaderModifier
          responseHeaderModifier: {{ set: [{{ name: bench-edit, value: "{edit}" }}] }}
"""


def route(index, edit=None):
    text = ROUTE.format(index=index)
    return text if edit is None else text + EDITED.format(edit=edit)


def host(index):
    return f"h{index}.bench.test"


def file_of(index, files):
    """Where route `index` is written: a file of its own (`many`), or one file for all (`one`)."""
    return "routes.yaml" if files == "one" else f"route-{index:05}.yaml"


def with_limit(origin_port, limit, more):
    """A folder with one route and a limit a client, with `more` fields."""
    one = World(1, origin_port)
    one.replace("limit.yaml", LIMIT.format(limit=limit, more=more))
    return one.folder


class World:
    """A folder of manifests with `routes` routes in `many` files or in `one`, and the edits made to them."""

    def __init__(self, routes, origin_port, files="many"):
        self.folder = tempfile.mkdtemp(prefix=f"world-{routes}-", dir=process.SCRATCH)
        self.files = files
        self.texts = [route(index) for index in range(routes)]
        self.replace("shared.yaml", SHARED.format(origin=origin_port))
        for index in range(1 if files == "one" else routes):
            self.replace(file_of(index, files), self.content(index))

    def content(self, index):
        """What the file of route `index` holds now."""
        return "---\n".join(self.texts) if self.files == "one" else self.texts[index]

    def prepare(self, index, edit):
        """Writes an edit beside the folder and returns the call that puts it in force, a rename."""
        self.texts[index] = route(index, edit)
        return self.prepared(file_of(index, self.files), self.content(index))

    def replace(self, name, text):
        self.prepared(name, text)()

    def prepared(self, name, text):
        """As careful editors and the kubelet do it: a reader sees the old file or the new one, never a half."""
        beside = os.path.join(process.SCRATCH, "next.tmp")
        with open(beside, "w") as out:
            out.write(text)
        return lambda: os.rename(beside, os.path.join(self.folder, name))
