# The three that matter: `make run`, `make cluster` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
CARGO ?= cargo

.PHONY: help run cluster kind test setup lint unit blackbox e2e faults sim bench fuzz licences

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## build and run the whole service in one process (data in ./data)
	@scripts/setup build
	$(CARGO) run --release --locked -p rookery-node -- standalone

cluster: ## a cluster as local processes: 3 NATS, 3 etcd, Redis, 3 nodes, 2 translators (data in ./data/cluster)
	@scripts/setup cluster
	scripts/cluster

kind: ## a chat on Kubernetes, with Docker and kind: cluster, images, charts, example
	scripts/kind

test: ## install what the tests need, then run everything that CI runs
	@scripts/setup test
	scripts/test

setup: ## install what building and testing need, and nothing else
	scripts/setup test

lint: ## format and lints, as CI checks them
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

unit: ## the tests that start no node
	$(CARGO) test --locked --workspace --exclude rookery-e2e

blackbox: ## the black-box tests against the built node, then the API's on a cluster of three
	$(CARGO) build --locked -p rookery-node -p rookery-mailer -p rookery-translator -p rookery-testbed
	$(CARGO) test --locked -p rookery-e2e
	scripts/servers && ROOKERY_E2E_CLUSTER=3 $(CARGO) test --locked -p rookery-e2e --test api

e2e: ## a chat with real pods on the Kubernetes of KUBECONFIG: writes docs/pods.md, which says what it needs
	scripts/e2e

faults: ## 1,000 faults of every part of a cluster under load; writes docs/faults.md (an hour or two)
	@scripts/setup test
	scripts/faults

sim: ## a minute of simulated clusters, new seeds each time
	$(CARGO) run --release --locked -p rookery-sim -- --seconds 60 --seeds 1000000 --from $$(date +%s)000

bench: ## measure the node against raw writers (about 8 minutes; needs two cores)
	bench/run.sh

fuzz: ## fuzz each decoder for a minute (needs cargo-fuzz)
	cd protocol/fuzz && for target in $$(ls fuzz_targets | sed 's/\.rs$$//'); do \
		RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run $$target -- -max_total_time=60 || exit 1; done

licences: ## check licences and sources of all dependencies
	scripts/licences
