#!/bin/bash
# Fetches what the tests of channels need into target/channels: a mail server, and verifiers that are not ours. The versions here are
# those that are used.
set -euo pipefail
cd "$(dirname "$0")/../.."
packages=(aiosmtpd==1.4.6 slack-sdk==3.48.0 standardwebhooks==1.1.0 cloudevents==2.2.0)
key=$(printf '%s\n' "${packages[@]}" | sha256sum | cut -c1-10)
out=target/channels/$key
if [ ! -e "$out/done" ]; then
  rm -rf "$out"
  python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target "$out" "${packages[@]}"
  touch "$out/done"
fi
ln -sfn "$key" target/channels/current
