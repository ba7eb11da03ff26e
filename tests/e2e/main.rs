//! End to end: real processes, real neighbours, real time. One file for each behaviour that is promised.

mod agent_kill;
mod blackbox;
mod canary;
mod check_once;
mod cut_off;
mod deploy_walk;
mod detection;
mod disk_full;
mod fastapi;
mod flush;
mod hostile_input;
mod hostile_peers;
mod kill;
mod kinds;
mod lifecycle;
mod maintenance;
mod mass_failure;
mod neighbours;
mod pings;
mod quickstart;
mod quorum_outage;
mod regions_cut;
mod replay;
mod sick_probe;
mod spool_kill;
mod zoo;
