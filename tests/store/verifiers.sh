#!/bin/bash
# Installs verifiers of records that are not ours, from Python packages, into target/verifiers. The versions here are those that are used.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=target/verifiers/3
if [ ! -e "$out/done" ]; then
  rm -rf "$out"
  python3 -m pip install --quiet --only-binary=:all: --target "$out" \
    securesystemslib==1.6.0 in-toto-attestation==0.9.3 cryptography==50.0.2 protobuf==7.36.2 cffi==2.1.1 pycparser==3.12
  touch "$out/done"
fi
ln -sfn 3 target/verifiers/current
