#!/bin/bash
# Writes what Kubernetes' own CEL makes of the expressions in crates/expression/tests/golden/cases.txt. `--check` fails where that is not
# what results.jsonl holds already. The modules are those of the control plane for tests.
set -euo pipefail
cd "$(dirname "$0")"
golden=../../crates/expression/tests/golden
fresh=$(mktemp)
trap 'rm -f "$fresh"' EXIT
CGO_ENABLED=0 go run ./cel <"$golden/cases.txt" >"$fresh"
case ${1-} in
  '') cp "$fresh" "$golden/results.jsonl" ;;
  --check) diff -u "$golden/results.jsonl" "$fresh" ;;
  *) echo "usage: $0 [--check]" >&2; exit 2 ;;
esac
