#!/bin/bash
# Installs what a fresh Debian or Ubuntu machine lacks: a C++ compiler and libclang (RocksDB), smbclient and smbtorture (tests).
# `setup.sh tests`: also MIT's Kerberos, with whose library the tests build and whose key distribution centre they start, and ip, for tests
# in network namespaces.
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
if [ "${1:-}" = tests ]; then
  PATH=$PATH:/usr/sbin:/sbin
  { command -v krb5-config && pkg-config --exists mit-krb5-gssapi; } >/dev/null 2>&1 || need+=(libkrb5-dev pkg-config)
  command -v ip >/dev/null || need+=(iproute2)
  command -v krb5kdc >/dev/null || need+=(krb5-kdc)
  command -v kadmin.local >/dev/null || need+=(krb5-admin-server)
  command -v kinit >/dev/null || need+=(krb5-user)
fi
if ((${#need[@]})); then
  command -v apt-get >/dev/null || {
    echo "setup: missing ${need[*]}, and there is no apt-get here: install them by hand, then run this again" >&2
    exit 69
  }
  sudo=(); [ "$(id -u)" = 0 ] || sudo=(sudo)
  echo "setup: installing ${need[*]}" >&2
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  # RUNLEVEL: Debian starts services where it can; ours are started by those who need them.
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null
fi
command -v cargo >/dev/null || {
  echo "setup: no Rust toolchain (cargo): install Rust 1.95 or newer with rustup, then run this again" >&2
  exit 69
}
