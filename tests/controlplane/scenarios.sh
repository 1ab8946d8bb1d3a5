#!/bin/bash
# Plays every scenario once more on a real API server that all of them share, each in a namespace of its own, with the operator and the gateway
# in the accounts of the chart. Further arguments go to the test program.
set -euo pipefail
cd "$(dirname "$0")/../.."
SIGNOFF_TEST_SERVER=real cargo test --locked --no-fail-fast --test it --test forge -- scenarios:: "$@"
