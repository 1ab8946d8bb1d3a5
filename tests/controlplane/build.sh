#!/bin/bash
# Builds the control plane for tests from Go modules: the newest supported Kubernetes into target/controlplane, and with the argument
# `oldest` the oldest supported one into target/controlplane/oldest. Minutes the first time on two cores, seconds afterwards. The
# version in go.mod, or in oldest.mod, is the one that is built.
set -euo pipefail
cd "$(dirname "$0")"
case ${1-} in
  '') module=go.mod out=../../target/controlplane ;;
  oldest) module=oldest.mod out=../../target/controlplane/oldest ;;
  *) echo "usage: $0 [oldest]" >&2; exit 2 ;;
esac
version=$(awk '$1 == "k8s.io/kubernetes" { print $2 }' $module)
minor=${version#v1.}; minor=${minor%%.*}
stamp=k8s.io/component-base/version
# without the version kubectl cannot parse what the server says of itself
CGO_ENABLED=0 go build -modfile=$module -o $out/controlplane \
  -ldflags "-s -w -X $stamp.gitVersion=$version -X $stamp.gitMajor=1 -X $stamp.gitMinor=$minor" .
