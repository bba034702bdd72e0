#!/bin/bash
# Everything that must hold before landing: format, lints, every test of the workspace. Ends with one line that counts the tests.
set -uo pipefail
cd "$(dirname "$0")/../.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
t0=$(date +%s)
say() { echo "== $* ($(($(date +%s) - t0)) s)"; }
say format
cargo fmt --all --check || { echo "test: run cargo fmt --all"; exit 1; }
say "build the program and the tests"
cargo build -p holdfast -p chaos || exit 1
cargo test --workspace --no-run || exit 1
say "run the tests"
# The tests that start real clusters come last and one at a time: two cores carry one cluster.
cargo test --workspace --exclude chaos --no-fail-fast 2>&1 | tee "$log"
rc=${PIPESTATUS[0]}
cargo test -p chaos --no-fail-fast -- --test-threads=1 2>&1 | tee -a "$log"
rc2=${PIPESTATUS[0]}
passed=$(sed -n 's/^test result: .* \([0-9]*\) passed; .*/\1/p' "$log" | awk '{n+=$1} END{print n+0}')
failed=$(sed -n 's/^test result: .* \([0-9]*\) failed; .*/\1/p' "$log" | awk '{n+=$1} END{print n+0}')
if ((rc == 0 && rc2 == 0)); then
  say lints
  cargo clippy --workspace --all-targets -- -D warnings || { echo "test: clippy found something"; rc=1; }
fi
say done
if ((rc != 0 || rc2 != 0)) && ((${failed:-0} == 0)); then failed=1; fi
echo "${passed:-0} passed, ${failed:-0} failed"
[ "${failed:-0}" = 0 ] && [ "${passed:-0}" -gt 0 ]
