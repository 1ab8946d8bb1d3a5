# See it work
demo:
    cargo run -- demo

# A control plane on this machine, to play with
dev:
    cargo run -- dev

# Every test that needs no more than Rust, a C compiler and git
test:
    cargo test

# Everything that needs a control plane, on the oldest supported Kubernetes (needs Go and Python)
test-oldest:
    tests/controlplane/oldest.sh

# Format, and be told what the lints say
tidy:
    cargo fmt
    cargo clippy --all-targets

# Write the CustomResourceDefinitions anew
crds:
    cargo run -- crds --dir crds
    cargo run -- crds --dir charts/signoff-crds/files

# What has to pass before a change lands
ci:
    .ci/run
