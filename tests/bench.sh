#!/usr/bin/env bash
# Measures Vigilmon against the budgets of its design and keeps the table in deploy/reports. Needs nginx and wrk, and a
# machine with nothing else to do: the load it finds is written beside the figures.
#
#   tests/bench.sh              everything (about eight minutes)
#   tests/bench.sh agent pings  only these; of engine, agent, memory, detection, mass, pings, heartbeat, delivery, fleet
#
# With prometheus-blackbox-exporter and openssl installed, the agent is measured beside them too.
set -euo pipefail
cd "$(dirname "$0")/.."

for tool in nginx wrk; do
    PATH=$PATH:/usr/sbin:/sbin command -v "$tool" > /dev/null || { echo "$tool is not installed: apt-get install nginx-light wrk"; exit 1; }
done
ulimit -n 65536 2> /dev/null || ulimit -n "$(ulimit -Hn)"

cargo build --locked --release --workspace --bins
# The processes' own logs go aside; the figures come on stderr.
cargo bench --locked --package e2e --bench budgets -- "$@" > target/bench.log
