# One task a line: `make help`.
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
# The tests and the demo run this binary, which is built just before.
WITH_BINARY := HEADGATE_BINARY=$(TARGET)/debug/headgate
.DEFAULT_GOAL := help

.PHONY: help setup demo run cluster test lint golden bench soak

help: ## List the tasks
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what the build needs beyond the toolchains, and say what that is
	@tools/setup

demo: setup ## Show failover, return and a live edit on this machine, in about a minute
	$(CARGO) build -p headgate
	$(WITH_BINARY) $(CARGO) run --quiet -p headgate-tests --bin demo

run: setup ## Serve examples/ on 127.0.0.1:8080, until Ctrl-C
	$(CARGO) run -p headgate -- standalone -f examples

cluster: setup ## A Kubernetes control plane to play with (no nodes), until Ctrl-C
	assets=$$(tests/cluster/build) && HEADGATE_CLUSTER_ASSETS="$$assets" $(CARGO) run --quiet -p headgate-tests --bin cluster

test: setup lint ## All checks and tests; builds a Kubernetes control plane first where it is missing
	@tools/setup redis
	assets=$$(tests/cluster/build) && $(CARGO) build --workspace --bins --tests && \
	HEADGATE_CLUSTER_ASSETS="$$assets" HEADGATE_ENVOY="$$(tests/envoy)" $(WITH_BINARY) $(CARGO) test --workspace

lint: setup ## Format, clippy and, where cargo-deny is installed, the dependency policy
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	@if command -v cargo-deny >/dev/null; then cargo-deny check bans licenses sources; fi

golden: setup ## Write generated files anew: CRD YAML, golden cases
	UPDATE_GOLDEN=1 $(CARGO) test -p headgate-crds -p headgate-translate
	git status --short

bench: setup ## CPU a request beside nginx, HAProxy, Envoy and bare Pingora; edit-to-enforced; memory
	bench/setup
	$(CARGO) build --release -p headgate -p headgate-bench --features headgate-bench/peers
	bench/run

soak: setup ## The long form of the tests that run seeded slices in `make test`
	@tools/setup redis
	$(CARGO) build -p headgate
	HEADGATE_SOAK=1 $(WITH_BINARY) $(CARGO) test -p headgate-tests -p headgate-engine -p headgate-translate -- --nocapture
