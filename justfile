# Play the demo
demo:
    cargo run -- demo

# Run a control plane on this machine
dev:
    cargo run -- dev

# Run all tests that need only Rust, a C compiler and git
test:
    cargo test

# Run all tests that need a control plane, on the oldest supported Kubernetes (needs Go and Python)
test-oldest:
    tests/controlplane/oldest.sh

# Format and lint
tidy:
    cargo fmt
    cargo clippy --all-targets

# Regenerate the CustomResourceDefinitions
crds:
    cargo run -- crds --dir crds
    cargo run -- crds --dir charts/signoff-crds/files

# Run everything that must pass before a change is merged
ci:
    .ci/run
