# The front door. `make run` and `make test` need Rust alone.

.DEFAULT_GOAL := help
SHELL := /bin/bash -o pipefail

SEEDS ?= 20000
ROUNDS ?= 3
CRD := crds/distributeddatabases.skerry.io.yaml

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: ## The tour: a real database on this machine, real data, every answer checked
	cargo build --release -p skerry -p skerry-node
	cargo run --quiet --release -p skerry -- tour

.PHONY: test
test: ## All tests, 500 simulation seeds among them
	cargo test --workspace --no-fail-fast

.PHONY: build
build: ## Everything, optimised
	cargo build --release --workspace

.PHONY: verify
verify: ## The gate: formatting, lints, tests, docs, generated files, dependencies. Writes nothing
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo test --workspace
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
	$(MAKE) --no-print-directory check-generated
	$(MAKE) --no-print-directory deny

.PHONY: fix
fix: ## Format, and mend what lints can mend; then look at the diff
	cargo fmt --all
	cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged
	cargo fmt --all

.PHONY: crds
crds: ## Write the resource's schema to crds/
	cargo run --quiet -p skerry-api --bin crdgen > $(CRD).new
	mv $(CRD).new $(CRD)

.PHONY: check-generated
check-generated: ## Fail if crds/ is not what the code gives
	cargo run --quiet -p skerry-api --bin crdgen | diff -u $(CRD) -

.PHONY: deny
deny: ## Licences, bans and sources of the dependencies
	@if command -v cargo-deny >/dev/null; then cargo deny check licenses bans sources; \
	else echo "deny: skipped, cargo-deny is not here (cargo install --locked cargo-deny)"; fi

.PHONY: sim
sim: ## Simulate whole databases under faults, then with known bugs planted: make sim SEEDS=20000
	cargo run --quiet --release -p skerry-sim -- --seeds $(SEEDS)
	cargo run --quiet --release -p skerry-sim -- --planted all --seeds 2000

.PHONY: bench
bench: ## Measure beside etcd and Redis: make bench ROUNDS=3
	cargo build --release -p skerry-node -p skerry-e2e --bins
	cargo run --quiet --release -p skerry-e2e --bin bench -- --rounds $(ROUNDS)

.PHONY: doc
doc: ## The code's documentation
	cargo doc --workspace --no-deps

.PHONY: clean
clean: ## Remove what was built
	cargo clean
