#!/bin/bash
# Installs what a fresh Debian or Ubuntu machine lacks: a C++ compiler and libclang (RocksDB), smbclient and smbtorture (tests).
# Says nothing and changes nothing when all of it is there.
set -euo pipefail
need=()
command -v clang++ >/dev/null || need+=(clang)
command -v cc >/dev/null || need+=(gcc libc6-dev)
command -v make >/dev/null || need+=(make)
ls /usr/lib/llvm-*/lib/libclang.so* /usr/lib/*/libclang*.so* >/dev/null 2>&1 || need+=(libclang-dev)
command -v ccache >/dev/null || need+=(ccache)
command -v smbclient >/dev/null || need+=(smbclient)
command -v smbtorture >/dev/null || need+=(samba-testsuite)
command -v jq >/dev/null || need+=(jq)
if ((${#need[@]})); then
  command -v apt-get >/dev/null || {
    echo "setup: missing ${need[*]}, and there is no apt-get here: install them by hand, then run this again" >&2
    exit 69
  }
  sudo=(); [ "$(id -u)" = 0 ] || sudo=(sudo)
  echo "setup: installing ${need[*]}" >&2
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null
fi
command -v cargo >/dev/null || {
  echo "setup: no Rust toolchain (cargo): install Rust 1.95 or newer with rustup, then run this again" >&2
  exit 69
}
