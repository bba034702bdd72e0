#!/bin/bash
# Installs the peers of the bench where they are missing, builds what it runs, and runs it. A peer that cannot be had is a row that says so.
set -uo pipefail
cd "$(dirname "$0")/../.."
if ! command -v etcd >/dev/null && command -v apt-get >/dev/null; then
  sudo=(); [ "$(id -u)" = 0 ] || sudo=(sudo)
  echo "bench: installing etcd-server" >&2
  # Debian starts it as a service where it can; the bench has members of its own.
  { "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq &&
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends etcd-server >/dev/null; } ||
    echo "bench: etcd-server cannot be installed here; its rows will say that it is absent" >&2
fi
# As it is installed, and as the peers are: optimised. RocksDB comes from ccache when another profile has compiled it.
cargo build --release -p holdfast -p chaos --features chaos/etcd || exit
cargo build --release -p raftstore --example three_nodes || exit
cargo build --release -p persistence --examples || exit
exec "$CARGO_TARGET_DIR/release/chaos" bench "$@"
