//! The description of the API, as a program reads it: which operations there are, and whether an answer is
//! one that it promises.

use std::collections::HashMap;
use std::sync::Mutex;

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::stage::Answer;

/// The description, and the schemas that were compiled so far.
pub(crate) struct Contract {
    description: Value,
    compiled: Mutex<HashMap<String, Validator>>,
}

/// An operation: its method, and its path with `{id}` for what varies.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Operation {
    pub(crate) method: String,
    pub(crate) path: String,
}

impl Operation {
    pub(crate) fn changes(&self) -> bool {
        self.method != "GET"
    }

    /// The path with this id.
    pub(crate) fn at(&self, id: &str) -> String {
        self.path.replace("{id}", id)
    }
}

impl Contract {
    pub(crate) fn new() -> Self {
        let description = serde_json::from_str(&tidings::api::openapi()).expect("JSON");
        Self { description, compiled: Mutex::default() }
    }

    pub(crate) fn operations(&self) -> Vec<Operation> {
        let paths = self.description["paths"].as_object().expect("paths");
        let of_path = |(path, item): (&String, &Value)| {
            let methods = item.as_object().expect("methods").keys();
            let operation =
                |method: &String| Operation { method: method.to_uppercase(), path: path.clone() };
            methods.map(operation).collect::<Vec<_>>()
        };
        paths.iter().flat_map(of_path).collect()
    }

    /// Whether the operation asks for a body; `None` where it takes none.
    pub(crate) fn asks_for_a_body(&self, operation: &Operation) -> Option<bool> {
        let body = self.operation(&operation.method, &operation.path)?.get("requestBody")?;
        Some(body["required"].as_bool().expect("a flag"))
    }

    /// The schema of this name.
    pub(crate) fn schema(&self, name: &str) -> &Value {
        &self.description["components"]["schemas"][name]
    }

    fn operation(&self, method: &str, path: &str) -> Option<&Value> {
        let parts: Vec<&str> = path.split('/').collect();
        let fits = |pattern: &str| {
            let pattern: Vec<&str> = pattern.split('/').collect();
            pattern.len() == parts.len()
                && pattern.iter().zip(&parts).all(|(want, part)| *want == "{id}" || want == part)
        };
        let paths = self.description["paths"].as_object()?;
        let (_, item) = paths.iter().find(|(pattern, _)| fits(pattern))?;
        item.get(method.to_lowercase())
    }

    /// Whether an answer is one that the description promises, body and all.
    pub(crate) fn check(&self, method: &str, path: &str, answer: &Answer) {
        // What answers to GET answers to HEAD, without the body (RFC 9110, 9.3.2).
        if method == "HEAD" {
            return assert!(answer.text.is_empty(), "{path}: {answer:?}");
        }
        let Some(operation) = self.operation(method, path) else {
            let none = [401, 403, 404, 405, 415].contains(&answer.status.as_u16());
            assert!(none, "{method} {path} is not described: {answer:?}");
            return;
        };
        let status = answer.status.as_str();
        let response = operation["responses"].get(status);
        let response =
            response.unwrap_or_else(|| panic!("{method} {path}: {status} is not described"));
        let response = match response["$ref"].as_str() {
            Some(name) => {
                let name = name.rsplit('/').next().expect("a name");
                &self.description["components"]["responses"][name]
            }
            None => response,
        };
        let described = |name: &str| {
            let names = response["headers"].as_object().into_iter().flat_map(|it| it.keys());
            names.filter(|told| told.eq_ignore_ascii_case(name)).count() == 1
        };
        for name in response["headers"].as_object().into_iter().flat_map(|it| it.keys()) {
            assert!(answer.headers.contains_key(name), "{method} {path}: {status} lacks {name}");
        }
        for name in ["allow", "etag", "location", "retry-after", "www-authenticate"] {
            let told = !answer.headers.contains_key(name) || described(name);
            assert!(told, "{method} {path}: {name} of {status} is not described");
        }
        let Some(schema) =
            response.get("content").map(|content| &content["application/json"]["schema"])
        else {
            assert!(answer.text.is_empty(), "{method} {path}: {status} has no body: {answer:?}");
            return;
        };
        let key = schema.to_string();
        let mut compiled = self.compiled.lock().expect("schemas");
        let validator = compiled.entry(key).or_insert_with(|| {
            let components = self.description["components"].clone();
            let schema = json!({ "allOf": [schema], "components": components });
            let options = jsonschema::draft202012::options().should_validate_formats(true);
            options.build(&schema).expect("a schema")
        });
        let errors: Vec<String> =
            validator.iter_errors(&answer.json).map(|error| error.to_string()).collect();
        assert!(
            errors.is_empty(),
            "{method} {path}: {status} is not as described: {errors:?}\n{answer:?}"
        );
    }
}
