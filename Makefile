# The front door. `make run` and `make test` need Rust alone.

.DEFAULT_GOAL := help
SHELL := /bin/bash -o pipefail

SEEDS ?= 20000
ROUNDS ?= 3
CRD := crds/distributeddatabases.skerry.io.yaml
CRD_TEMPLATE := charts/skerry/templates/crd.yaml
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
HOSTS ?= 5
ZONES ?= 3
NAME ?=
BRIEF ?=
# The release before this one. Nodes of both run side by side in a test, so a clone must have this commit.
BEFORE = c9204a02330e620aec50ce83d5a1fc5c7bcb30f4
NODE_BEFORE = $(TARGET)/before/skerry-node-$(BEFORE)
TARGET = $(shell cargo metadata --no-deps --format-version 1 | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: ## The tour: a real database on this machine, real data, every answer checked
	$(if $(STATIC),$(BUILD_STATIC),cargo build --profile $(PROFILE)) -p skerry -p skerry-node --bins
	$(if $(STATIC),$(BINARIES),$(TARGET)/$(PROFILE))/skerry tour

# Built to be tried, not to be measured. With STATIC=1 as the images of the scenarios are, so that both are built once.
run programs-e2e images-e2e: PROFILE = quick

.PHONY: test
test: ## All tests, 500 simulation seeds among them
	cargo test --workspace --no-fail-fast

.PHONY: test-python
test-python: ## The example of docs/grpc.md (needs protoc, and grpcio for /usr/bin/python3 or PYTHON)
	cargo test --workspace --test process -- --ignored the_example_in_python

.PHONY: node-before
node-before: ## The node of the release before, from git's history (kept: it is built once)
	@test -x $(NODE_BEFORE) || git cat-file -e $(BEFORE)^{commit} 2>/dev/null || { \
		echo "commit $(BEFORE), the release before, is not in this clone: git fetch --unshallow, or fetch all branches" >&2; exit 1; }
	@test -x $(NODE_BEFORE) || { set -e; source=$(TARGET)/before/source; \
		rm -rf $$source; mkdir -p $$source; \
		git archive $(BEFORE) | tar -x -C $$source; \
		cargo build --quiet --locked --manifest-path $$source/Cargo.toml --target-dir $(TARGET) -p skerry-node --bin skerry-node; \
		cp $(TARGET)/debug/skerry-node $(NODE_BEFORE).new; mv $(NODE_BEFORE).new $(NODE_BEFORE); rm -rf $$source; }

.PHONY: test-releases
test-releases: node-before ## Nodes of this release and of the one before in one database (needs git's history)
	SKERRY_NODE_BEFORE=$(NODE_BEFORE) cargo test --workspace --test process -- --ignored nodes_of_two_releases

.PHONY: build
build: ## Everything, optimised
	cargo build --release --workspace

.PHONY: verify
verify: lint test test-python $(if $(NO_HISTORY),,test-releases) ## The gate: lint and test. Writes nothing

.PHONY: lint
lint: ## Formatting, lints, docs, generated files, dependencies
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
	$(MAKE) --no-print-directory check-generated
	$(MAKE) --no-print-directory deny

.PHONY: fix
fix: ## Format, and mend what lints can mend; then look at the diff
	cargo fmt --all
	cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged
	cargo fmt --all

.PHONY: crds
crds: ## Write the resource's schema to crds/ and into the chart
	cargo run --quiet -p skerry-api --bin crdgen > $(CRD).new
	mv $(CRD).new $(CRD)
	cargo run --quiet -p skerry-api --bin crdgen -- --template > $(CRD_TEMPLATE).new
	mv $(CRD_TEMPLATE).new $(CRD_TEMPLATE)

.PHONY: check-generated
check-generated: ## Fail if crds/ or the chart's copy is not what the code gives
	cargo run --quiet -p skerry-api --bin crdgen | diff -u $(CRD) -
	cargo run --quiet -p skerry-api --bin crdgen -- --template | diff -u $(CRD_TEMPLATE) -

.PHONY: deny
deny: ## Licences, bans and sources of the dependencies
	@if command -v cargo-deny >/dev/null; then cargo deny check licenses bans sources; \
	else echo "deny: skipped, cargo-deny is not here (cargo install --locked cargo-deny)"; fi

.PHONY: sim
sim: ## Simulate databases under faults, then with known bugs planted: make sim SEEDS=20000; WHOLE=1 with the operator
	cargo run --quiet --release -p skerry-sim -- --seeds $(SEEDS) $(if $(WHOLE),--whole)
	cargo run --quiet --release -p skerry-sim -- --planted all --seeds 2000 $(if $(WHOLE),--whole)

FUZZ_SECONDS ?= 600
.PHONY: fuzz
fuzz: ## Forged messages, frames, logs and stores, ten minutes for each kind: make fuzz FUZZ_SECONDS=600
	SKERRY_FUZZ_SECONDS=$(FUZZ_SECONDS) cargo test --workspace --test fuzz -- --nocapture

SCHEDULES ?= 20000
.PHONY: search
search: ## Hold back, reorder, double and drop chosen messages around elections, snapshots and moves: make search SCHEDULES=20000
	SEARCH=$(SCHEDULES) cargo test -p skerry-core --features planted --test search -- --nocapture

SAMPLE ?= 150
SEED ?= 1
MINUTES ?= 60
MUTANT_JOBS ?= 2
.PHONY: mutants
mutants: ## Plant bugs mechanically in the core; which does no test notice? make mutants SAMPLE=150 SEED=1 MINUTES=60; AGAIN=1 tries the survivors again (needs cargo-mutants)
	cargo run --quiet -p skerry-e2e --bin mutants -- --sample $(SAMPLE) --seed $(SEED) --minutes $(MINUTES) --jobs $(MUTANT_JOBS) $(if $(AGAIN),--again)

TRIPLE = $(shell rustc -vV | sed -n 's/^host: //p')
PROFILE = release
IMAGES = target/images
BINARIES = $(TARGET)/$(TRIPLE)/$(PROFILE)
# Naming the target keeps build scripts and macros dynamic while the programs are static.
BUILD_STATIC = RUSTFLAGS="-C target-feature=+crt-static" cargo build --quiet --profile $(PROFILE) --target $(TRIPLE)
IMAGE = cargo run --quiet -p skerry-e2e --bin image -- --tag $(VERSION)
image = $(IMAGE) --name $(1) --binary $(BINARIES)/$(2) --out $(IMAGES)/$(1).tar

.PHONY: images
images: ## The images of node and operator, as tars in target/images/; no container engine is needed
	$(BUILD_STATIC) -p skerry-node -p skerry-operator --bins
	mkdir -p $(IMAGES)
	$(call image,skerry-node,skerry-node)
	$(call image,skerry-operator,skerry-operator)

.PHONY: programs-e2e
programs-e2e:
	$(BUILD_STATIC) -p skerry -p skerry-node -p skerry-operator -p skerry-e2e --bin skerry --bin skerry-node --bin skerry-operator --bin check

.PHONY: images-e2e
images-e2e: IMAGES = target/images-e2e
images-e2e: programs-e2e
	mkdir -p $(IMAGES)
	$(call image,skerry-node,skerry-node)
	$(call image,skerry-operator,skerry-operator)
	$(call image,skerry-check,check)
	cp $(BINARIES)/skerry $(IMAGES)/skerry

.PHONY: lab-up
lab-up: ## A real Kubernetes on this machine (as root, Debian, with Go): make lab-up HOSTS=5 ZONES=3
	cargo run --quiet -p skerry-e2e --bin lab -- up --hosts $(HOSTS) --zones $(ZONES)

.PHONY: lab-down
lab-down: ## Take that Kubernetes down, and leave nothing behind
	cargo run --quiet -p skerry-e2e --bin lab -- down

.PHONY: e2e
e2e: images-e2e ## Every scenario on a Kubernetes of its own, every answer checked (as root, Debian, with Go)
	cargo run --quiet -p skerry-e2e --bin e2e -- $(if $(BRIEF),--brief --jobs 2) $(NAME)

.PHONY: e2e-one
e2e-one: e2e ## One scenario: make e2e-one NAME=scale_out_and_in

.PHONY: bench
bench: ## Measure beside etcd and Redis: make bench ROUNDS=3
	cargo build --release -p skerry-node -p skerry-e2e --bins
	$(TARGET)/release/bench --rounds $(ROUNDS)
	cargo bench --quiet -p skerry-operator --bench operator

.PHONY: doc
doc: ## The code's documentation
	cargo doc --workspace --no-deps

.PHONY: clean
clean: ## Remove what was built
	cargo clean
