#!/bin/bash
# Plays every scenario once more on a real API server that all of them share, each in a namespace of its own, with the operator and the gateway
# in the accounts of the chart. Further arguments go to the test program.
set -euo pipefail
cd "$(dirname "$0")/../.."
# tests/it/scenarios.rs holds this list
modules=(
  approvals budgets callbacks cli crash_walk hostile idle leadership live nuisances own_work promotion repositories repository runs signatures
  signed_merges starter webhooks
  forge::bindings forge::clusters forge::decisions forge::decisions::answers forge::endings forge::feedback forge::outages forge::refusals forge::remotes forge::replays forge::scopes
  forge::strangers forge::ways forge::webhooks
)
SIGNOFF_TEST_SERVER=real cargo test --locked --test it -- "${modules[@]/%/::}" "$@"
