//! The test of the tests: bugs planted on purpose, each of which the simulation must catch.
//!
//! A planted bug is a line of the source and what stands there instead. The tree is copied, the
//! copy must pass, then each bug is planted in it by itself: it must compile, and the simulation
//! must fail by naming a seed. A bug that is not caught names a check that is missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A bug.
struct Planted {
    name: &'static str,
    file: &'static str,
    /// Occurs exactly once in the file.
    find: &'static str,
    replace: &'static str,
}

/// The test that must fail.
const TEST: &str = "nothing_is_lost_in_memory";
/// Enough worlds that each bug meets the fault that shows it.
const SEEDS: u64 = 80;
/// The longest that a build or a run may take: what hangs is not caught.
const PATIENCE: Duration = Duration::from_secs(600);
/// What the copy consists of, beside the files at the top.
const FOLDERS: [&str; 4] = ["src", "tests", "examples", "benches"];

const BUGS: [Planted; 33] = [
    // --- the engine ----------------------------------------------------------------------------
    Planted {
        name: "a failed settlement is forgotten",
        file: "src/engine/dispatcher/settle.rs",
        find: "self.outcomes.splice(..0, batch);",
        replace: "drop(batch);",
    },
    Planted {
        name: "permits are not returned",
        file: "src/engine/dispatcher/settle.rs",
        find: "self.permits.release(outgoing.leased.webhook.id());",
        replace: "",
    },
    Planted {
        name: "calls without an answer are not given up",
        file: "src/engine/dispatcher.rs",
        find: "self.abandoned.iter().map(|(ticket, _)| *ticket).collect()",
        replace: "Vec::new()",
    },
    Planted {
        name: "the limit in flight is ignored",
        file: "src/engine/dispatcher.rs",
        find: "total: reserved",
        replace: "total: u32::MAX",
    },
    Planted {
        name: "the limit of a webhook is ignored",
        file: "src/engine/dispatcher.rs",
        find: "each: self.options.in_flight_per_webhook",
        replace: "each: u32::MAX",
    },
    Planted {
        name: "sends when its leases have run out",
        file: "src/engine/dispatcher.rs",
        find: "self.draining.is_some() || !self.is_alive(Instant::now())",
        replace: "self.draining.is_some()",
    },
    Planted {
        name: "the rate is twice the limit",
        file: "src/engine/holds.rs",
        find: "self.even = self.even.max(departure) + self.limit.interval();",
        replace: "self.even = self.even.max(departure) + self.limit.interval() / 2;",
    },
    Planted {
        name: "the limit of concurrency does not count what is under way",
        file: "src/engine/holds.rs",
        find: "self.concurrency.saturating_sub(busy)",
        replace: "self.concurrency.saturating_sub(busy / 2)",
    },
    Planted {
        name: "a shutdown forgets what it cut off",
        file: "src/engine/dispatcher/end.rs",
        find: "in std::mem::take(&mut self.sending)",
        replace: "in std::mem::take(&mut self.sending).into_iter().take(0)",
    },
    Planted {
        name: "a shutdown says no goodbye",
        file: "src/engine/dispatcher/end.rs",
        find: "until: now,",
        replace: "until: crate::ground::time::after(now, END_MAX),",
    },
    Planted {
        name: "signs with the time of the event",
        file: "src/engine/request.rs",
        find: "prepared.request(leased, self.core.clock.now())",
        replace: "prepared.request(leased, leased.event.created())",
    },
    // --- the rules -----------------------------------------------------------------------------
    Planted {
        name: "never tries again",
        file: "src/ground/advance.rs",
        find: "policy.schedule(webhook.mode()).delay(failures) else",
        replace: "policy.schedule(webhook.mode()).delay(failures).filter(|_| false) else",
    },
    Planted {
        name: "tries again at once",
        file: "src/ground/advance.rs",
        find: "after(now, delay.max(at_least))",
        replace: "after(now, delay.min(at_least))",
    },
    Planted {
        name: "Retry-After shortens the delay",
        file: "src/ground/advance.rs",
        find: "after(now, delay.max(at_least))",
        replace: "after(now, if at_least.is_zero() { delay } else { at_least })",
    },
    Planted {
        name: "Retry-After has no bound",
        file: "src/ground/advance.rs",
        find: "(*asked).min(policy.retry_after_max())",
        replace: "*asked",
    },
    Planted {
        name: "a redirect is a success",
        file: "src/ground/delivery.rs",
        find: "200..=299",
        replace: "200..=399",
    },
    Planted {
        name: "410 does not disable",
        file: "src/ground/advance.rs",
        find: "(Outcome::Answered { status: 410, .. }, _)",
        replace: "(Outcome::Answered { status: 411, .. }, _)",
    },
    Planted {
        name: "a success does not end a stretch of failure",
        file: "src/ground/advance.rs",
        find: "health: Health::Recovered",
        replace: "health: Health::Unchanged",
    },
    Planted {
        name: "disables without looking at the stored stretch",
        file: "src/ground/lane.rs",
        find: "if self.failing_since == Some(observed)",
        replace: "if observed <= at",
    },
    Planted {
        name: "crashes are never accounted for",
        file: "src/ground/advance.rs",
        find: "delivery.lapsed && delivery",
        replace: "false && delivery",
    },
    Planted {
        name: "pauses are ignored",
        file: "src/ground/lane.rs",
        find: "|paused| paused.max(due)",
        replace: "|_| due",
    },
    Planted {
        name: "a probe does not hold others off",
        file: "src/ground/lane.rs",
        find: "self.paused_until = Some(until);",
        replace: "let _ = until;",
    },
    Planted {
        name: "a takeover waits for nobody",
        file: "src/ground/lane.rs",
        find: "self.held_until.map_or(ready, |until| until.max(ready))",
        replace: "self.held_until.map_or(ready, |_| ready)",
    },
    // --- the storage ---------------------------------------------------------------------------
    Planted {
        name: "the dead are never reaped",
        file: "src/adapters/memory/queue.rs",
        find: "self.reap(now);",
        replace: "",
    },
    Planted {
        name: "order ignores what is leased",
        file: "src/adapters/memory/state.rs",
        find: "hook.keyed.remove(&(key, number))",
        replace: "hook.keyed.clear()",
    },
    Planted {
        name: "what stood behind is never put back",
        file: "src/adapters/memory/state.rs",
        find: "self.unpark(next);",
        replace: "let _ = next;",
    },
    Planted {
        name: "settles without the fence",
        file: "src/ports/rules.rs",
        find: "match (delivery.standing(fence), enabled)",
        replace: "match (Standing::Holds, enabled)",
    },
    Planted {
        name: "the attempt of a late settlement is thrown away",
        file: "src/adapters/memory/settle.rs",
        find: "settlement.record(&mut row.attempts);",
        replace: "",
    },
    Planted {
        name: "leases before it is due",
        file: "src/ground/lane.rs",
        find: "(Some(at), _) if at > now",
        replace: "(Some(at), Some(_)) if at > now",
    },
    Planted {
        name: "routes by the filters of today",
        file: "src/adapters/memory/spans.rs",
        find: "number <= **to",
        replace: "**to == OPEN",
    },
    Planted {
        name: "a conflict passes for a duplicate",
        file: "src/ports/rules.rs",
        find: "Some(_) => Self::Conflict",
        replace: "Some(_) => Self::Duplicate",
    },
    Planted {
        name: "leases to disabled webhooks",
        file: "src/adapters/memory/state.rs",
        find: ".filter(|webhook| webhook.is_enabled())",
        replace: "",
    },
    Planted {
        name: "what waits does not join its lane",
        file: "src/adapters/memory/state.rs",
        find: "hook.waiting.insert((due, delivery.id));",
        replace: "let _ = (hook, due);",
    },
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file with the bug in it.
fn plant(bug: &Planted) -> Result<String, String> {
    let text = fs::read_to_string(root().join(bug.file))
        .map_err(|error| format!("{}: {}: {error}", bug.name, bug.file))?;
    match text.matches(bug.find).count() {
        1 => Ok(text.replace(bug.find, bug.replace)),
        count => Err(format!(
            "{}: `{}` occurs {count} times in {}, not once: choose another text in tests/planted.rs",
            bug.name, bug.find, bug.file
        )),
    }
}

/// Looks for the place of each bug in the present source.
#[test]
fn every_bug_has_its_place() {
    let errors: Vec<String> = BUGS.iter().filter_map(|bug| plant(bug).err()).collect();
    assert!(errors.is_empty(), "{}", errors.join("\n"));
}

/// Plants every bug (`TIDINGS_BUG` for those whose name contains it) in a copy of the tree, and
/// runs the simulation over each.
#[test]
#[ignore = "needs several minutes of building: tests/run --long"]
fn every_planted_bug_is_caught() {
    let copy = Copy::new();
    copy.refresh();
    let began = Instant::now();
    match copy.simulate() {
        Run::Passed => println!("{:5} s  unchanged: passes", began.elapsed().as_secs()),
        other => panic!("the unchanged copy does not pass: {other:?}"),
    }
    let only = std::env::var("TIDINGS_BUG").unwrap_or_default();
    let mut missed = Vec::new();
    for bug in BUGS.iter().filter(|bug| bug.name.contains(&only)) {
        let began = Instant::now();
        let text = plant(bug).unwrap_or_else(|error| panic!("{error}"));
        copy.write(bug.file, &text);
        let run = copy.simulate();
        let pristine = fs::read_to_string(root().join(bug.file)).unwrap();
        copy.write(bug.file, &pristine);
        let seconds = began.elapsed().as_secs();
        let said = match &run {
            Run::Failed(seed) => format!("caught by {seed}"),
            other => {
                missed.push(bug.name);
                format!("MISSED: {other:?}")
            }
        };
        println!("{seconds:5} s  {:50} {said}", bug.name);
    }
    println!("{:5} s  in all", began.elapsed().as_secs());
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

/// How the simulation ended.
#[derive(Debug)]
enum Run {
    Passed,
    /// With the line that names the seed.
    Failed(String),
    /// It failed and named no seed.
    Unclear(#[allow(dead_code, reason = "shown in the table")] String),
    NotBuilt(#[allow(dead_code, reason = "shown in the table")] String),
    Hangs,
}

/// A copy of the tree, with a place of its own to build in. It stays for the next time.
struct Copy {
    tree: PathBuf,
    target: PathBuf,
}

impl Copy {
    fn new() -> Self {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("planted");
        Self { tree: place.join("tree"), target: place.join("target") }
    }

    /// Brings the copy to the state of the tree. Files that are the same are left alone, so that
    /// cargo need not build them again.
    fn refresh(&self) {
        for folder in FOLDERS {
            let copied = files(&self.tree.join(folder));
            for path in copied {
                let inner = path.strip_prefix(&self.tree).unwrap();
                if !root().join(inner).exists() {
                    fs::remove_file(&path).unwrap();
                }
            }
        }
        let top = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
        let top = top.filter(|path| path.is_file());
        let inner = FOLDERS.iter().flat_map(|folder| files(&root().join(folder)));
        for path in top.chain(inner) {
            let to = self.tree.join(path.strip_prefix(root()).unwrap());
            let bytes = fs::read(&path).unwrap();
            if fs::read(&to).ok().as_ref() != Some(&bytes) {
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                fs::write(&to, bytes).unwrap();
            }
        }
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.tree.join(file), text).unwrap();
    }

    /// Builds the simulation and runs it.
    fn simulate(&self) -> Run {
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .current_dir(&self.tree)
            .args(["test", "--no-run", "--message-format=json"])
            .args(["--no-default-features", "--features", "engine"])
            .args(["--test", "simulation"])
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env("CARGO_TARGET_DIR", &self.target);
        let Some((built, out, err)) = self.run(&mut cargo) else {
            return Run::Hangs;
        };
        let program = out.lines().rev().find_map(|line| {
            let message: serde_json::Value = serde_json::from_str(line).ok()?;
            message["executable"].as_str().map(str::to_owned)
        });
        let Some(program) = program.filter(|_| built) else {
            return Run::NotBuilt(format!("{err}\n{out}"));
        };
        let mut simulation = Command::new(program);
        simulation
            .args(["--exact", TEST, "--nocapture"])
            .env("TIDINGS_SEEDS", SEEDS.to_string())
            .env_remove("TIDINGS_SEED")
            .env("RUST_BACKTRACE", "0");
        let Some((passed, out, err)) = self.run(&mut simulation) else {
            return Run::Hangs;
        };
        let seed = err.lines().find(|line| line.starts_with("seed "));
        match seed {
            _ if passed && out.contains("1 passed") => Run::Passed,
            Some(seed) => Run::Failed(seed.chars().take(160).collect()),
            None => Run::Unclear(format!("{err}\n{out}")),
        }
    }

    /// Runs a command: whether it succeeded, and what it wrote; nothing if it takes too long.
    fn run(&self, command: &mut Command) -> Option<(bool, String, String)> {
        let paths = ["out", "err"].map(|name| self.tree.with_file_name(name));
        let [out, err] = paths.clone().map(|path| fs::File::create(path).unwrap());
        let mut child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().unwrap();
        let began = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                let [out, err] = paths
                    .map(|path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned());
                return Some((status.success(), out, err));
            }
            if began.elapsed() > PATIENCE {
                child.kill().unwrap();
                child.wait().unwrap();
                return None;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// All files in a folder and its folders.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
