# The commands of CONTRIBUTING.md. `just` lists them.

default:
    @just --list

# Format, lint and test, as CI does.
ci:
    .ci/run

fmt:
    cargo fmt --check

lint:
    cargo clippy --all-targets -- -D warnings

test *args:
    cargo test {{args}}

# One test binary, perhaps some of its tests: just test-one traffic http::breakers::
test-one binary filter="":
    cargo test --test {{binary}} -- {{filter}}

bench name:
    cargo bench --bench {{name}}

# Beside nginx, HAProxy and Envoy: just compare --rounds 3
compare *args:
    cargo build --release
    perf/compare {{args}}
