//! Whether answers look as they are described: status, fields, content type, and the shape of JSON.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::client::Answer;
use crate::description::{Description, Operation, entries, list};

/// Fields that frame every answer. They are described once, in words.
const FRAMING: [&str; 5] = [
    "connection",
    "content-length",
    "content-type",
    "date",
    "transfer-encoding",
];

/// Compares answers with their description, and keeps what was seen.
pub(crate) struct Checker<'a> {
    pub(crate) description: &'a Description,
    /// Status and word of each error that there is.
    pub(crate) errors: Vec<(u16, String)>,
    /// Operations with the statuses that came, as `get / 200`.
    pub(crate) statuses: BTreeSet<String>,
    /// Properties that came, as `Error/message`.
    pub(crate) properties: BTreeSet<String>,
    pub(crate) faults: Vec<String>,
}

impl Checker<'_> {
    pub(crate) fn check(&mut self, operation: &Operation<'_>, target: &str, answer: &Answer) {
        let before = self.faults.len();
        let status = answer.status;
        let mut described = operation.statuses().filter(|(code, _)| *code == status);
        match described.next() {
            Some((_, about)) => {
                let name = operation.name();
                self.statuses.insert(format!("{name} {status}"));
                let about = self.description.resolve(about);
                self.check_fields(about, answer);
                // What is refused before it is known to be for a head alone has a body.
                match (operation.method, answer.body.is_empty()) {
                    ("head", true) => {}
                    ("head", false) if status >= 400 => {}
                    ("head", false) => self.faults.push("a HEAD has a body".to_owned()),
                    _ => self.check_content(about, answer),
                }
                let told = &about["x-messages"];
                if !told.is_null() {
                    self.check_lines(told, &answer.body);
                }
            }
            None => self.faults.push("the status is not described".to_owned()),
        }
        for fault in &mut self.faults[before..] {
            let body = String::from_utf8_lossy(&answer.body);
            let method = operation.method;
            *fault = format!("{method} {target} is {status}: {fault}; {body}");
        }
    }

    fn check_fields(&mut self, about: &Value, answer: &Answer) {
        let described = &about["headers"];
        for (name, value) in &answer.fields {
            let mut named = entries(described).filter(|(own, _)| own.eq_ignore_ascii_case(name));
            let constant = match named.next() {
                Some((_, about)) => &self.description.resolve(about)["schema"]["const"],
                None if FRAMING.contains(&name.as_str()) => &Value::Null,
                None => {
                    self.faults.push(format!("{name} is not described"));
                    continue;
                }
            };
            if constant.as_str().is_some_and(|constant| constant != value) {
                self.faults.push(format!("{name} is {value}"));
            }
        }
        for (name, about) in entries(described) {
            let is_required = self.description.resolve(about)["required"] == true;
            if is_required && answer.field(&name.to_lowercase()).is_none() {
                self.faults.push(format!("{name} does not come"));
            }
        }
    }

    fn check_content(&mut self, about: &Value, answer: &Answer) {
        let content = &about["content"];
        let Some(kind) = answer.field("content-type") else {
            if !content.is_null() {
                self.faults.push("no content type comes".to_owned());
            }
            return;
        };
        let schema = &content[kind]["schema"];
        if schema.is_null() {
            self.faults.push(format!("{kind} is not described"));
            return;
        }
        match kind {
            "application/json" => {
                let json = self.parse(&answer.body);
                self.check_error(answer.status, &json);
                self.check_shape(schema, &json);
            }
            "application/x-ndjson" => self.check_lines(schema, &answer.body),
            "text/event-stream" => self.check_events(schema, &answer.body),
            _ => {}
        }
    }

    fn check_lines(&mut self, schema: &Value, body: &[u8]) {
        let lines = body.split(|byte| *byte == b'\n');
        for line in lines.filter(|line| !line.is_empty()) {
            let json = self.parse(line);
            self.check_shape(schema, &json);
        }
    }

    fn parse(&mut self, bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap_or_else(|error| {
            self.faults.push(format!("no JSON: {error}"));
            Value::Null
        })
    }

    fn check_error(&mut self, status: u16, json: &Value) {
        let Some(word) = json["error"].as_str() else {
            return;
        };
        let is_it = |(code, own): &(u16, String)| *code == status && own == word;
        if !self.errors.iter().any(is_it) {
            self.faults.push(format!("{word} is not its word"));
        }
    }

    fn check_events(&mut self, schema: &Value, body: &[u8]) {
        let text = String::from_utf8_lossy(body).into_owned();
        for block in text.split("\n\n") {
            let line = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
            let data = line("data: ");
            let Some(event) = line("event: ") else {
                let about = &schema["x-message"];
                if let Some(data) = data.filter(|_| !about.is_null()) {
                    let json = self.parse(data.as_bytes());
                    self.check_shape(about, &json);
                }
                continue;
            };
            let about = &schema["x-events"][event];
            match (about["type"] == "string", data) {
                _ if about.is_null() => self.faults.push(format!("{event} is not described")),
                (_, None) => self.faults.push(format!("{event} has no data")),
                (true, Some(data)) => self.check_shape(about, &data.into()),
                (false, Some(data)) => {
                    let json = self.parse(data.as_bytes());
                    self.check_shape(about, &json);
                }
            }
        }
    }

    /// Whether `json` is what a schema describes.
    fn check_shape(&mut self, schema: &Value, json: &Value) {
        match fit(self.description, schema, json) {
            Ok(properties) => self.properties.extend(properties),
            Err(fault) => self.faults.push(fault),
        }
    }
}

/// The properties that a schema describes and `json` has, by the names of their schemas; or what it does not describe.
pub(crate) fn fit(
    description: &Description,
    reference: &Value,
    json: &Value,
) -> Result<BTreeSet<String>, String> {
    let schema = description.resolve(reference);
    if list(&schema["oneOf"]).next().is_some() {
        return fit_one(description, schema, json);
    }
    let is_type = match schema["type"].as_str() {
        Some("object") => json.is_object(),
        Some("array") => json.is_array(),
        Some("string") => json.is_string(),
        Some("boolean") => json.is_boolean(),
        Some("number") => json.is_number(),
        Some("integer") => json.is_u64(),
        other => return Err(format!("{other:?} is a type that this test does not know")),
    };
    let is_constant = schema["const"].is_null() || schema["const"] == *json;
    let is_listed = schema["enum"].is_null() || list(&schema["enum"]).any(|listed| listed == json);
    if !(is_type && is_constant && is_listed) {
        return Err(format!("{json} is not as described: {schema}"));
    }
    let mut properties = BTreeSet::new();
    for item in list(json) {
        properties.extend(fit(description, &schema["items"], item)?);
    }
    let mut required = list(&schema["required"]).filter_map(Value::as_str);
    if let Some(missing) = required.find(|name| json[name].is_null()) {
        return Err(format!("{missing} is missing in {json}"));
    }
    let name = reference["$ref"].as_str().unwrap_or("nameless");
    let name = name.rsplit('/').next().unwrap_or_default();
    for (property, value) in entries(json) {
        let named = &schema["properties"][property];
        // Names that are the client's.
        let about = match named.is_null() {
            true => &schema["additionalProperties"],
            false => named,
        };
        if !about.is_object() {
            return Err(format!("{property} is not described"));
        }
        if !named.is_null() {
            properties.insert(format!("{name}/{property}"));
        }
        properties.extend(fit(description, about, value)?);
    }
    Ok(properties)
}

/// The same where a schema is one of several: exactly one of them has to fit.
fn fit_one(
    description: &Description,
    schema: &Value,
    json: &Value,
) -> Result<BTreeSet<String>, String> {
    let choices = list(&schema["oneOf"]);
    let fits = choices
        .map(|choice| fit(description, choice, json))
        .filter_map(Result::ok);
    let mut fits: Vec<BTreeSet<String>> = fits.collect();
    match (fits.pop(), fits.len()) {
        (Some(properties), 0) => Ok(properties),
        (found, more) => {
            let count = more + usize::from(found.is_some());
            Err(format!("{json} fits {count} of the described shapes"))
        }
    }
}
