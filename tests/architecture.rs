//! The house's walls, read from what cargo itself says: which crate may lean on which, what never enters the tree, and
//! what stands at the top level.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;

/// Every member, and the members it may name. DESIGN §2: imports run one way.
const MAY_LEAN_ON: [(&str, &[&str]); 9] = [
    ("model", &[]),
    ("engine", &["model"]),
    ("store", &["model", "engine"]),
    ("proto", &["model"]),
    ("probe-agent", &["model", "proto"]),
    ("coordinator", &["model", "engine", "store", "proto", "probe-agent"]),
    ("ctl", &["model", "proto"]),
    ("e2e", &["model", "proto"]),
    ("simulate", &["model", "engine"]),
];

/// What a crate must not reach, by whatever way, and why.
const NEVER_REACHES: [(&str, &[&str], &str); 6] = [
    ("model", &["tokio", "prost", "tonic", "hyper", "sqlx", "sqlx-core"], "shared words do no I/O"),
    ("engine", &["tokio", "prost", "tonic", "hyper", "sqlx", "sqlx-core"], "decisions are pure"),
    ("proto", &["sqlx", "sqlx-core", "rustls"], "the wire knows neither database nor transport security"),
    ("probe-agent", &["sqlx", "sqlx-core", "libsqlite3-sys", "engine", "store"], "an agent decides nothing"),
    ("ctl", &["sqlx", "sqlx-core", "libsqlite3-sys", "engine", "store"], "the CLI has no logic"),
    (
        "e2e",
        &["sqlx", "sqlx-core", "libsqlite3-sys", "engine", "store"],
        "black-box tests never read the database",
    ),
];

/// Second cryptography and TLS stacks: `ring` is the one provider.
const BANNED: [&str; 6] = ["aws-lc-rs", "aws-lc-sys", "openssl", "openssl-sys", "native-tls", "boring"];

/// What may stand at the top level, besides hidden entries and what `.gitignore` names.
const TOP_LEVEL: [&str; 18] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "SECURITY.md",
    "clippy.toml",
    "coordinator",
    "ctl",
    "deny.toml",
    "deploy",
    "justfile",
    "probe-agent",
    "proto",
    "rustfmt.toml",
    "tests",
];

static METADATA: LazyLock<Value> = LazyLock::new(|| {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--filter-platform=x86_64-unknown-linux-gnu"])
        .current_dir(checkout())
        .output()
        .expect("cargo runs this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo prints JSON")
});

#[test]
fn crates_lean_on_each_other_one_way_only() {
    let allowed: BTreeMap<_, _> = MAY_LEAN_ON.into_iter().collect();
    let members: BTreeSet<_> = members().map(|package| text(&package["name"])).collect();
    assert_eq!(members, allowed.keys().copied().collect());
    for package in self::members() {
        let name = text(&package["name"]);
        for dependency in list(&package["dependencies"]).filter(|it| is_ordinary(it)) {
            let other = text(&dependency["name"]);
            let fine = !members.contains(other) || allowed[name].contains(&other);
            assert!(fine, "{name} must not depend on {other}: see tests/architecture.rs");
        }
    }
}

#[test]
fn pure_crates_stay_pure_and_clients_stay_small() {
    for (name, forbidden, why) in NEVER_REACHES {
        let reached = reached_from(name);
        let found: Vec<_> = forbidden.iter().filter(|it| reached.contains(**it)).collect();
        assert!(found.is_empty(), "{name} reaches {found:?}, but {why}");
    }
}

#[test]
fn only_the_store_names_sqlx() {
    for package in members().filter(|package| text(&package["name"]) != "store") {
        let names_sqlx = list(&package["dependencies"]).any(|it| text(&it["name"]).starts_with("sqlx"));
        assert!(!names_sqlx, "{} names sqlx", text(&package["name"]));
    }
}

#[test]
fn one_cryptography_provider_is_in_the_tree() {
    let all: BTreeSet<_> = nodes().keys().map(|id| names()[id]).collect();
    assert!(all.contains("ring"));
    let found: Vec<_> = BANNED.iter().filter(|name| all.contains(**name)).collect();
    assert!(found.is_empty(), "{found:?} came into the tree: find out with `cargo tree --invert`");
}

#[test]
fn every_crate_inherits_the_lints_and_unsafe_code_is_forbidden() {
    let read = |path: &Path| std::fs::read_to_string(path).expect("cargo has read it too");
    assert!(read(&checkout().join("Cargo.toml")).contains("unsafe_code = \"forbid\""));
    for package in members() {
        let manifest = read(Path::new(text(&package["manifest_path"])));
        assert!(manifest.contains("[lints]\nworkspace = true"), "{}", text(&package["name"]));
    }
}

#[test]
fn the_top_level_is_fixed() {
    let ignored = std::fs::read_to_string(checkout().join(".gitignore")).expect("there is one");
    let ignored: BTreeSet<_> = ignored.lines().map(|line| line.trim_matches('/')).collect();
    let entries = std::fs::read_dir(checkout()).expect("the checkout can be read");
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let fine =
            name.starts_with('.') || ignored.contains(name.as_str()) || TOP_LEVEL.contains(&name.as_str());
        assert!(fine, "`{name}` does not belong to the top level");
    }
}

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("`tests` is below the checkout")
}

fn members() -> impl Iterator<Item = &'static Value> {
    let ids: BTreeSet<_> = list(&METADATA["workspace_members"]).map(text).collect();
    list(&METADATA["packages"]).filter(move |package| ids.contains(text(&package["id"])))
}

/// Package names by package id.
fn names() -> BTreeMap<&'static str, &'static str> {
    list(&METADATA["packages"]).map(|package| (text(&package["id"]), text(&package["name"]))).collect()
}

/// What each package depends on when it is built as somebody's ordinary dependency.
fn nodes() -> BTreeMap<&'static str, Vec<&'static str>> {
    let ordinary = |dep: &&Value| list(&dep["dep_kinds"]).any(|kind| kind["kind"].is_null());
    list(&METADATA["resolve"]["nodes"])
        .map(|node| {
            let deps = list(&node["deps"]).filter(ordinary).map(|dep| text(&dep["pkg"])).collect();
            (text(&node["id"]), deps)
        })
        .collect()
}

fn reached_from(name: &str) -> BTreeSet<&'static str> {
    let (nodes, names) = (nodes(), names());
    let start = members().find(|package| text(&package["name"]) == name).expect("it is a member");
    let mut reached = BTreeSet::new();
    let mut open = vec![text(&start["id"])];
    while let Some(id) = open.pop() {
        for dep in &nodes[id] {
            if reached.insert(*dep) {
                open.push(dep);
            }
        }
    }
    reached.into_iter().map(|id| names[id]).collect()
}

fn is_ordinary(dependency: &Value) -> bool {
    dependency["kind"].is_null()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
