//! The description: a file of JSON, and the operations in it.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;
use testkit::programs::workspace;

const METHODS: [&str; 5] = ["get", "head", "options", "post", "put"];

/// `broker/docs/openapi.json`.
pub(crate) struct Description {
    file: Value,
}

/// What a method of a path does.
pub(crate) struct Operation<'a> {
    pub(crate) path: &'a str,
    pub(crate) method: &'a str,
    about: &'a Value,
    /// Those of the path and its own.
    pub(crate) parameters: Vec<&'a Value>,
    /// It is served at the operator's address only.
    pub(crate) is_operators: bool,
}

pub(crate) fn read(name: &str) -> String {
    fs::read_to_string(workspace().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

impl Description {
    pub(crate) fn open() -> Self {
        let file = serde_json::from_str(&read("broker/docs/openapi.json")).expect("it is JSON");
        Self { file }
    }

    /// What a value is, or what it refers to.
    pub(crate) fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        let Some(reference) = value["$ref"].as_str() else {
            return value;
        };
        let pointer = reference.strip_prefix('#').expect("of this file");
        let found = self.file.pointer(pointer);
        found.unwrap_or_else(|| panic!("nothing is at {reference}"))
    }

    /// The schema of a name.
    pub(crate) fn schema(&self, name: &str) -> &Value {
        let schema = &self.file["components"]["schemas"][name];
        assert!(!schema.is_null(), "{name} is not described");
        schema
    }

    pub(crate) fn schemas(&self) -> impl Iterator<Item = (&String, &Value)> {
        entries(&self.file["components"]["schemas"])
    }

    pub(crate) fn operations(&self) -> Vec<Operation<'_>> {
        let mut operations = Vec::new();
        for (path, item) in entries(&self.file["paths"]) {
            for (method, about) in entries(item) {
                if !METHODS.contains(&method.as_str()) {
                    let known = ["parameters", "servers"];
                    assert!(known.contains(&method.as_str()), "{path}: {method}");
                    continue;
                }
                let parameters = [&item["parameters"], &about["parameters"]];
                let parameters = parameters.into_iter().flat_map(list);
                operations.push(Operation {
                    path,
                    method,
                    about,
                    parameters: parameters.map(|value| self.resolve(value)).collect(),
                    is_operators: !item["servers"].is_null(),
                });
            }
        }
        operations
    }

    /// The operation of a path and a method.
    pub(crate) fn operation(&self, method: &str, path: &str) -> Operation<'_> {
        let mut operations = self.operations().into_iter();
        let found = operations.find(|one| one.path == path && one.method == method);
        found.unwrap_or_else(|| panic!("{method} {path} is not described"))
    }

    /// Names of parameters that an operation does not take: those that others take, and one that none does.
    pub(crate) fn foreign_to(&self, operation: &Operation<'_>) -> Vec<&str> {
        let all = entries(&self.file["components"]["parameters"]).map(|(_, about)| about);
        let queried = all.filter(|about| about["in"] == "query");
        let names = queried.filter_map(|about| about["name"].as_str());
        let is_own = |name: &&str| {
            let mut own = operation.parameters.iter();
            own.any(|about| about["name"] == **name)
        };
        let mut foreign: Vec<&str> = names.filter(|name| !is_own(name)).collect();
        foreign.push("unknown");
        foreign
    }

    /// References that lead nowhere make this panic; it gives those that are followed.
    pub(crate) fn references(&self) -> BTreeSet<String> {
        let (mut references, mut ahead) = (BTreeSet::new(), vec![&self.file]);
        while let Some(value) = ahead.pop() {
            if let Some(reference) = value["$ref"].as_str() {
                self.resolve(value);
                references.insert(reference.to_owned());
            }
            ahead.extend(value.as_object().into_iter().flat_map(|all| all.values()));
            ahead.extend(list(value));
        }
        references
    }

    /// Everything that can be referred to.
    pub(crate) fn components(&self) -> BTreeSet<String> {
        let kinds = entries(&self.file["components"]);
        let names = kinds.flat_map(|(kind, all)| {
            entries(all).map(move |(name, _)| format!("#/components/{kind}/{name}"))
        });
        names.collect()
    }
}

impl<'a> Operation<'a> {
    /// The described statuses.
    pub(crate) fn statuses(&self) -> impl Iterator<Item = (u16, &'a Value)> {
        entries(&self.about["responses"]).map(|(code, about)| (code.parse().unwrap(), about))
    }

    /// What it is answered with where nothing is wrong.
    pub(crate) fn success(&self) -> u16 {
        let codes = self.statuses().map(|(code, _)| code);
        codes.min().expect("it is answered")
    }

    /// Its name in what a failing test says.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// A body of JSON to ask with.
    pub(crate) fn example(&self) -> Option<&'a Value> {
        let content = &self.about["requestBody"]["content"];
        let example = &content["application/json"]["example"];
        (!example.is_null()).then_some(example)
    }

    pub(crate) fn id(&self) -> &'a str {
        self.about["operationId"].as_str().expect("it has one")
    }
}

pub(crate) fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

pub(crate) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
