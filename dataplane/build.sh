#!/bin/sh
# Builds the BPF objects, the Node addon and the CNI plugin. Needs clang, libbpf and libelf headers, and Rust 1.88 or later.
set -eu
cd "$(dirname "$0")"
mkdir -p cni
include=/usr/include/$(uname -m)-linux-gnu
strip=$(command -v llvm-strip || ls /usr/bin/llvm-strip-* 2>/dev/null | tail -n 1)
for source in bpf/*.bpf.c; do
  object=${source%.c}.o
  echo "$object"
  clang -O2 -g -Wall -Wextra -Werror -target bpf -I"$include" -c "$source" -o "$object"
  "$strip" -g "$object"
done
echo 'addon and CNI plugin'
cargo build --release --locked --manifest-path native/Cargo.toml
# Renamed into place: a running process keeps the file that it mapped.
cp native/target/release/libproxima_native.so native/proxima.node.new && mv native/proxima.node.new native/proxima.node
cp native/target/release/proxima-cni cni/proxima-cni.new && mv cni/proxima-cni.new cni/proxima-cni
