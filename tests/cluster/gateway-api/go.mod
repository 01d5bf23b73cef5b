// Only its definitions are taken (config/crd/standard), so nothing imports it: `go mod tidy` would remove it.
module headgate.dev/tests/cluster/gateway-api

go 1.26.0

require sigs.k8s.io/gateway-api v1.6.3
