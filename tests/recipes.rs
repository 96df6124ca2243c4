//! The recipes of the documentation are the code that is tested with each driver.

use std::fs;
use std::path::Path;

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The recipe of a driver without the lines that say what it is.
fn recipe(driver: &str) -> String {
    let text = file(&format!("tests/drivers/{driver}/recipe.rs"));
    let lines = text.lines().skip_while(|line| line.starts_with("//!") || line.is_empty());
    lines.map(|line| format!("{line}\n")).collect()
}

/// The blocks of code of a text.
fn blocks(text: &str) -> Vec<String> {
    let parts = text.split("```").skip(1).step_by(2);
    parts.filter_map(|block| Some(block.split_once('\n')?.1.to_owned())).collect()
}

/// Compares the blocks of the text with the packages, of which none may be left out.
#[test]
fn the_documented_recipes_are_the_tested_ones() {
    let mut shown = blocks(&file("src/docs/outbox.md"));
    shown.retain(|block| block.contains("Executor for"));
    let expected = ["sqlx-0.9", "sea-orm-2", "diesel"].map(recipe);
    assert_eq!(shown, expected);
    assert_eq!(recipe("sqlx-0.8"), recipe("sqlx-0.9"), "one recipe is shown for both");
    assert_eq!(recipe("sea-orm-1").replace(".query_all(", ".query_all_raw("), recipe("sea-orm-2"));

    let drivers = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers");
    let mut found: Vec<_> = fs::read_dir(drivers)
        .expect("the drivers")
        .map(|entry| entry.expect("a driver").file_name().into_string().expect("a name"))
        .collect();
    found.sort();
    assert_eq!(found, ["diesel", "sea-orm-1", "sea-orm-2", "sqlx-0.8", "sqlx-0.9"]);
}

/// Counts the lines of each implementation.
#[test]
fn a_recipe_is_short() {
    for driver in ["sqlx-0.8", "sqlx-0.9", "sea-orm-1", "sea-orm-2", "diesel"] {
        let recipe = recipe(driver);
        let implementations = recipe.matches("Executor for").count();
        let lines = recipe.lines().filter(|line| !line.is_empty() && !line.starts_with("use "));
        let lines = lines.count() / implementations;
        assert!((5..=15).contains(&lines), "{driver}: {lines} lines for each database");
    }
}
