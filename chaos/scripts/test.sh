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
# One selection of packages and features for all tests: another one would build everything again.
cargo test --workspace --features holdfast/krb5 --no-run --message-format=json-render-diagnostics >"$log" || exit 1
list=$(jq -r 'select(.reason == "compiler-artifact" and .profile.test and .executable != null)
  | [.manifest_path, .target.kind[0], .target.name, .executable] | @tsv' "$log" | sort)
: >"$log"
say "run the tests"
rc=0
run() { # manifest, name, program, arguments...
  local dir=${1%/Cargo.toml} name=$2 program=$3
  shift 3
  echo "     Running ${dir##*/} $name"
  (cd "$dir" && CARGO_MANIFEST_DIR=$dir "$program" "$@" </dev/null) 2>&1 | tee -a "$log"
  [ "${PIPESTATUS[0]}" = 0 ] || { echo "test: failed: cargo test -p ${dir##*/} ($name)"; rc=1; }
}
while IFS=$'\t' read -r manifest _ name program; do
  case $manifest in */chaos/Cargo.toml) ;; *) run "$manifest" "$name" "$program" ;; esac
done <<<"$list"
# The tests that start real clusters come last and one at a time: two cores carry one cluster.
while IFS=$'\t' read -r manifest _ name program; do
  case $manifest in */chaos/Cargo.toml) run "$manifest" "$name" "$program" --test-threads=1 ;; esac
done <<<"$list"
passed=$(sed -n 's/^test result: .* \([0-9]*\) passed; .*/\1/p' "$log" | awk '{n+=$1} END{print n+0}')
failed=$(sed -n 's/^test result: .* \([0-9]*\) failed; .*/\1/p' "$log" | awk '{n+=$1} END{print n+0}')
if ((rc == 0)); then
  say lints
  cargo clippy --workspace --all-targets --features holdfast/krb5 -- -D warnings || { echo "test: clippy found something"; rc=1; }
fi
say done
if ((rc != 0)) && ((${failed:-0} == 0)); then failed=1; fi
echo "${passed:-0} passed, ${failed:-0} failed"
[ "${failed:-0}" = 0 ] && [ "${passed:-0}" -gt 0 ]
