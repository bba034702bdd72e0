# The commands the project keeps. `make demo` and `make test` do all of their own set-up on a fresh Debian or Ubuntu machine.
#   HOLDFAST_TARGET_DIR  where cargo builds (survives a clone; RocksDB costs minutes); default: the user's cache folder
#   ARGS                 passed to the program behind the target, e.g. make demo ARGS="--nodes 5"
SHELL := /bin/bash
CACHE := $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)
HOLDFAST_TARGET_DIR ?= $(CACHE)/holdfast/target
export CARGO_TARGET_DIR := $(HOLDFAST_TARGET_DIR)
export HOLDFAST_TARGET_DIR
export CXX := $(shell command -v ccache >/dev/null && echo "ccache ")$(shell command -v clang++ >/dev/null && echo clang++ || echo c++)
BIN := $(CARGO_TARGET_DIR)/debug
ARGS ?=

.PHONY: demo test failover conformance chaos bench setup build lint
demo: build
	@exec $(BIN)/holdfast demo $(ARGS)

test: setup
	@chaos/scripts/test.sh $(ARGS)

failover: build
	@exec $(BIN)/chaos failover $(ARGS)

conformance: build
	@exec $(BIN)/chaos conformance $(ARGS)

chaos: build
	@exec $(BIN)/chaos storm $(ARGS)

bench: build
	@exec $(BIN)/chaos bench $(ARGS)

lint: setup
	@cargo fmt --all --check && cargo clippy --workspace --all-targets -- -D warnings

build: setup
	@cargo build -p holdfast -p chaos

setup:
	@chaos/scripts/setup.sh
