#!/bin/bash
# Installs the OpenSSH server for tests, if it is missing: Debian's package, of which the tests start processes of their own.
set -euo pipefail
if command -v sshd >/dev/null || [ -x /usr/sbin/sshd ]; then
  exit 0
fi
sudo=
if [ "$(id -u)" -ne 0 ]; then
  sudo=sudo
fi
export DEBIAN_FRONTEND=noninteractive
# the package starts a server, which no test needs
$sudo sh -c 'printf "#!/bin/sh\nexit 101\n" > /usr/sbin/policy-rc.d.signoff && chmod +x /usr/sbin/policy-rc.d.signoff && { [ -e /usr/sbin/policy-rc.d ] || cp /usr/sbin/policy-rc.d.signoff /usr/sbin/policy-rc.d; }'
$sudo apt-get update -qq
$sudo apt-get install -y -qq --no-install-recommends openssh-server
$sudo sh -c 'cmp -s /usr/sbin/policy-rc.d /usr/sbin/policy-rc.d.signoff && rm -f /usr/sbin/policy-rc.d; rm -f /usr/sbin/policy-rc.d.signoff'
