#!/bin/bash
# Every test that uses a real control plane, on the oldest supported Kubernetes: first those that always do, then each scenario.
set -euo pipefail
cd "$(dirname "$0")"
bash tools.sh oldest
bash build.sh oldest
export SIGNOFF_CONTROLPLANE=oldest SIGNOFF_REQUIRE_CONTROLPLANE=1
unset KUBEBUILDER_ASSETS KUBECTL HELM
cargo test --locked --test real --test faults
./scenarios.sh
