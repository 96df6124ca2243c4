//! Generated requests: thousands that the description allows or forbids, from a program that knows nothing
//! but the description.

use std::process::Command;
use std::sync::Arc;

use tidings::storage::{SqliteOptions, SqliteStorage};

use crate::stage::Stage;

/// Sends generated requests to every operation, 25 of each kind or 200 in a long run: no answer is an error
/// of the server's, and each is one that the description promises.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs schemathesis: tests/run"]
async fn generated_requests_get_answers_that_are_described() {
    let program =
        std::env::var("TIDINGS_SCHEMATHESIS").expect("TIDINGS_SCHEMATHESIS names the program");
    let examples = if std::env::var_os("TIDINGS_LONG").is_some() { "200" } else { "25" };
    let folder = tempfile::tempdir().expect("a folder");
    let options = SqliteOptions::default().dangerously_without_sync(true);
    let storage = SqliteStorage::open_with(folder.path().join("tidings.db"), options).await;
    let stage = Stage::over(Arc::new(storage.expect("a store")));
    let running = stage.run();
    stage.webhook("fine").await;
    stage.event(1).await;
    let (url, server) = stage.serve("").await;
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/src/http/openapi.json");
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,\
                  response_headers_conformance,response_schema_conformance";
    let work = folder.path().to_owned();
    let run = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(program);
        command.args(["run", kept, "--url", &url, "--header", "x-user: Olga"]);
        command.args(["--checks", checks, "--phases", "examples,coverage,fuzzing"]);
        command.args(["--max-examples", examples, "--seed", "1", "--continue-on-failure"]);
        command.args(["--suppress-health-check", "all", "--no-color", "--warnings", "off"]);
        command.current_dir(work).output().expect("schemathesis")
    });
    let done = run.await.expect("schemathesis ends");
    let (out, errors) =
        (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    println!("{out}");
    assert!(done.status.success(), "{out}\n{errors}");
    running.abort();
    server.abort();
}
