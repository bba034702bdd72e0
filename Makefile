# The commands the project keeps. `make demo` and `make test` do all of their own set-up on a fresh Debian or Ubuntu machine.
#   HOLDFAST_TARGET_DIR  where cargo builds (survives a clone: RocksDB costs minutes); default: the user's cache folder
#   ARGS                 passed to the program behind the target, e.g. make demo ARGS="--nodes 5"
SHELL := /bin/bash
ARGS ?=
ENV := chaos/scripts/setup.sh && . chaos/scripts/env.sh
BUILD := $(ENV) && cargo build -p holdfast -p chaos && exec $$CARGO_TARGET_DIR/debug

.PHONY: demo test failover conformance garbage chaos bench lint

demo: ## three nodes, one continuously available share, until Ctrl-C
	@$(BUILD)/holdfast demo $(ARGS)

test: ## everything that must hold before landing
	@chaos/scripts/setup.sh tests && $(ENV) && chaos/scripts/test.sh $(ARGS)

failover: ## kill nodes under writing clients and compare every acknowledged block
	@$(BUILD)/chaos failover $(ARGS)

conformance: ## smbtorture against one node and three, compared with the pass list in the tree
	@$(BUILD)/chaos conformance $(ARGS)

garbage: ## attack a node as strangers do, beside an honest client; prints memory and times
	@$(BUILD)/chaos garbage $(ARGS)

chaos: ## 2,000 simulated clusters, then longer runs of faults on a real one
	@$(ENV) && cargo build -p holdfast -p chaos && $$CARGO_TARGET_DIR/debug/chaos simulate --seeds 2000 && exec $$CARGO_TARGET_DIR/debug/chaos storm $(ARGS)

bench: ## throughput and latency beside a flush of the disk and beside peers, printed
	@$(ENV) && chaos/scripts/bench.sh $(ARGS)

lint:
	@chaos/scripts/setup.sh tests && $(ENV) && cargo fmt --all --check && cargo clippy --workspace --all-targets --features holdfast/krb5 -- -D warnings
