# Sourced after setup.sh: where cargo builds and with which C++ compiler (RocksDB is two thirds of a cold build).
export HOLDFAST_TARGET_DIR="${HOLDFAST_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/holdfast/target}"
export CARGO_TARGET_DIR="$HOLDFAST_TARGET_DIR"
if command -v clang++ >/dev/null; then CXX=clang++; else CXX=c++; fi
if command -v ccache >/dev/null; then CXX="ccache $CXX"; fi
export CXX
