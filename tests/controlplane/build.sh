#!/bin/bash
# Builds the control plane for tests from Go modules, into target/controlplane: six minutes the first time on two
# cores, seconds afterwards. The version in go.mod is the one that is built.
set -euo pipefail
cd "$(dirname "$0")"
version=$(awk '$1 == "k8s.io/kubernetes" { print $2 }' go.mod)
minor=${version#v1.}; minor=${minor%%.*}
stamp=k8s.io/component-base/version
# without the version kubectl cannot parse what the server says of itself
CGO_ENABLED=0 go build -o ../../target/controlplane/controlplane \
  -ldflags "-s -w -X $stamp.gitVersion=$version -X $stamp.gitMajor=1 -X $stamp.gitMinor=$minor" .
