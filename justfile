# What is typed often. `just` lists it.

_default:
    @just --list

# Everything CI runs, as CI runs it
check:
    .ci/run

# The fast part: format, lints, unit and property tests
quick:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    cargo test --workspace --locked --exclude tidegate-integration

# Start a gateway
serve *arguments:
    cargo run --release -p tidegate -- serve {{arguments}}

# Write what is generated from the code: a test compares it
generate:
    cargo build -p tidegate
    target/debug/tidegate config reference > docs/configuration.md
    target/debug/tidegate config example > tidegate.example.yaml
    target/debug/tidegate config schema > tidegate.schema.json
