//! What statements touch: the plans that PostgreSQL ran, as its module `auto_explain` logs them.
//!
//! So the statements are those that the storage sends, with the plans that it gets: also the generic
//! ones, that a prepared statement may be given from its sixth run on.
#![allow(dead_code)] // Each user of this file needs another part of it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::cluster::{Cluster, Options};

/// A server that can log plans. It does so for connections made after [`begin`].
pub(crate) fn options() -> Options {
    Options::default()
        .set("shared_preload_libraries", "auto_explain")
        .set("auto_explain.log_analyze", "on")
        .set("auto_explain.log_buffers", "on")
        .set("auto_explain.log_timing", "off")
        .set("auto_explain.log_nested_statements", "on")
        .set("auto_explain.log_format", "json")
}

/// From now on plans of new connections to the database are logged. Answers with where the log is.
pub(crate) fn begin(cluster: &Cluster, database: &str) -> usize {
    let text = format!("ALTER DATABASE \"{database}\" SET auto_explain.log_min_duration = 0");
    cluster.sql("postgres", &text);
    cluster.log().len()
}

/// What one statement came to, over all its runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Statement {
    pub(crate) text: String,
    pub(crate) runs: u64,
    /// Pages of tables and indexes that were looked at, each as often as it was.
    pub(crate) buffers: u64,
    /// Rows returned, or rows written to tables where those are more.
    pub(crate) rows: u64,
    /// Rows of which a run could be sure only by looking: elements of its arrays, at least one.
    pub(crate) entries: u64,
    /// The greatest buffers of one run, with its rows and plan.
    pub(crate) worst: (u64, u64, String),
    /// Tables that were read from end to end, with the rows that were.
    pub(crate) scanned: BTreeMap<String, u64>,
}

impl Statement {
    pub(crate) fn per_row(&self) -> f64 {
        self.buffers as f64 / self.rows.max(1) as f64
    }
}

/// The statements that were logged from `from` on, by text.
pub(crate) fn statements(log: &str, from: usize) -> Vec<Statement> {
    let mut found: BTreeMap<String, Statement> = BTreeMap::new();
    let mut lines = log[from..].lines().peekable();
    while let Some(line) = lines.next() {
        if !line.trim_end().ends_with("plan:") {
            continue;
        }
        let mut json = String::new();
        while let Some(line) = lines.next_if(|line| line.starts_with('\t')) {
            json.push_str(line);
        }
        let Ok(logged) = serde_json::from_str::<Value>(&json) else { continue };
        let text = logged["Query Text"].as_str().unwrap_or_default();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let plan = &logged["Plan"];
        let entry = found.entry(text.clone()).or_insert(Statement { text, ..Statement::default() });
        let buffers = number(plan, "Shared Hit Blocks") + number(plan, "Shared Read Blocks");
        let mut written = 0;
        walk(plan, &mut |node| {
            if node["Node Type"] == "ModifyTable" {
                // Without RETURNING the node itself gives no rows: count what it was given.
                written += children(node)
                    .filter(|child| child["Parent Relationship"] == "Outer")
                    .map(rows)
                    .sum::<u64>();
            }
            if node["Node Type"] == "Seq Scan" {
                let table = node["Relation Name"].as_str().unwrap_or_default().to_owned();
                let passed = number(node, "Rows Removed by Filter") * number(node, "Actual Loops");
                *entry.scanned.entry(table).or_default() += rows(node) + passed;
            }
            if node["Node Type"] == "Function Scan" {
                entry.entries += rows(node);
            }
        });
        let rows = rows(plan).max(written);
        entry.runs += 1;
        entry.buffers += buffers;
        entry.rows += rows;
        if buffers >= entry.worst.0 {
            let plan = serde_json::to_string_pretty(plan).unwrap_or_default();
            entry.worst = (buffers, rows, plan);
        }
    }
    found.into_values().collect()
}

fn number(node: &Value, name: &str) -> u64 {
    node[name].as_f64().unwrap_or_default() as u64
}

/// The rows that a node gave, over all its loops.
fn rows(node: &Value) -> u64 {
    number(node, "Actual Rows") * number(node, "Actual Loops")
}

fn children(node: &Value) -> impl Iterator<Item = &Value> {
    node["Plans"].as_array().into_iter().flatten()
}

fn walk(node: &Value, see: &mut impl FnMut(&Value)) {
    see(node);
    for child in children(node) {
        walk(child, see);
    }
}
