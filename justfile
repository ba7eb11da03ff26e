# Shorthand. Every recipe is one line over a command that works without `just`.

# List the recipes
default:
    @just --list

# Everything that must hold before a merge
test:
    tests/run

# One end-to-end test or file: just e2e kill::
e2e FILTER='':
    cargo build --workspace --bins && cargo test --package e2e --test e2e -- --test-threads=1 --nocapture {{FILTER}}

# Format the code
fmt:
    cargo fmt --all

# Formatting and lints
lint:
    cargo fmt --all --check && cargo clippy --workspace --all-targets -- -D warnings

# Documentation, with broken links denied
doc:
    RUSTDOCFLAGS='-D warnings -A rustdoc::bare_urls' cargo doc --workspace --no-deps

# Licences, bans, sources
deny:
    cargo deny check

# The long form of everything: more kills, more cases, months of simulated faults, every mutant of the engine
nightly:
    VIGILMON_KILLS=50 VIGILMON_DELIVERY_KILLS=500 PROPTEST_CASES=10000 tests/run
    tests/simulate.sh
    tests/mutants.sh

# What the engine's tests would not notice: just mutants --jobs 2
mutants *ARGUMENTS:
    tests/mutants.sh {{ARGUMENTS}}

# 50 × kill -9 under load
show-kill:
    cargo build --workspace --bins && VIGILMON_KILLS=50 cargo test --package e2e --test e2e -- --test-threads=1 --nocapture kill:: flush::

# Detection at a 600 s interval
show-detection:
    cargo build --workspace --bins && cargo test --package e2e --test e2e -- --nocapture detection::

# Against the budgets of the design, on a quiet machine: just bench pings
bench *PARTS:
    tests/bench.sh {{PARTS}}

# The agent alone: CPU per check, checks/s, TLS handshakes, lateness and memory, beside wrk, openssl and blackbox_exporter
bench-agent:
    tests/bench.sh agent

# Heartbeats: pings/s and p99 durable before the 200 beside a bare 200, 50,000 of them, a spike, a kill
bench-heartbeat:
    tests/bench.sh heartbeat

# Deliveries: ten thousand at once beside Alertmanager, and one at a time
bench-delivery:
    tests/bench.sh delivery

# Months of monitoring with faults around the real engine: just simulate --days 30 --monitors 1000 --seeds 20
simulate *ARGUMENTS:
    tests/simulate.sh {{ARGUMENTS}}

# A first look
up *URLS:
    cargo run --release -- up {{URLS}}
