#!/bin/bash
# Builds Gitea for tests from Go modules, into target/forge: four minutes the first time on two cores, seconds afterwards.
# The version in go.mod is the one that is built.
set -euo pipefail
cd "$(dirname "$0")"
out=../../target/forge
version=$(go list -m -f '{{.Version}}' code.gitea.io/gitea)
# its database is SQLite, which is C
CGO_ENABLED=1 go build -o "$out/gitea" -tags 'sqlite sqlite_unlock_notify' -ldflags "-s -w -X main.Version=${version#v}" .
# the folder is there once the module was fetched
module=$(go list -m -f '{{.Dir}}' code.gitea.io/gitea)
rm -rf "$out/static.new" "$out/static"
mkdir -p "$out/static.new"
cp -R "$module/templates" "$module/options" "$module/public" "$out/static.new"
# the module cache is read-only, and the server may run as another user than who builds it
chmod -R u+w,a+rX "$out/static.new" "$out/gitea"
mv "$out/static.new" "$out/static"
