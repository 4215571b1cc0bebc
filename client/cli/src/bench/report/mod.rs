//! The report of a bench: a table for people, one JSON object, or a page with charts.

mod chart;
mod origin;
mod page;

use serde::Serialize;
use serde_json::{Map, Value, json};

use self::origin::Origin;
use super::memory::Growth;
use super::times::{Rates, Summary, Timeline, Times};
use crate::failure::Failure;
use crate::output::{Format, grouped, print_json, print_table};

/// The results of one run.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    bench: &'static str,
    target: &'static str,
    parameters: Vec<(&'static str, Value)>,
    figures: Vec<Figure>,
    times: Vec<(&'static str, Summary)>,
    timelines: Vec<(&'static str, Rates)>,
    memory: Option<Growth>,
    origin: Origin,
}

/// One number. The name includes the unit, for readers of JSON.
#[derive(Clone, Debug)]
struct Figure {
    name: &'static str,
    value: f64,
    unit: Unit,
}

/// How a number is shown to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Count,
    PerSecond,
    Seconds,
    Bytes,
    Ratio,
}

impl Report {
    pub(crate) fn new(bench: &'static str, target: &'static str) -> Self {
        Self {
            bench,
            target,
            parameters: Vec::new(),
            figures: Vec::new(),
            times: Vec::new(),
            timelines: Vec::new(),
            memory: None,
            origin: Origin::here(),
        }
    }

    pub(crate) fn parameter(&mut self, name: &'static str, value: impl Serialize) -> &mut Self {
        self.parameters.push((name, json!(value)));
        self
    }

    pub(crate) fn figure(&mut self, name: &'static str, value: f64, unit: Unit) -> &mut Self {
        self.figures.push(Figure { name, value, unit });
        self
    }

    /// Times that were never taken are left out.
    pub(crate) fn times(&mut self, name: &'static str, times: &Times) -> &mut Self {
        if !times.is_empty() {
            self.times.push((name, times.summary()));
        }
        self
    }

    pub(crate) fn timeline(&mut self, name: &'static str, timeline: &Timeline) -> &mut Self {
        let rates = timeline.rates();
        if !rates.per_s.is_empty() {
            self.timelines.push((name, rates));
        }
        self
    }

    pub(crate) fn memory(&mut self, growth: Growth) -> &mut Self {
        self.memory = Some(growth);
        self
    }

    pub(crate) fn print(&self, format: Format) -> Result<(), Failure> {
        match format {
            Format::Json => print_json(&self.json()),
            Format::Text => print_table(&self.rows(), &(1..8)),
        }
    }

    /// The page with charts.
    pub(crate) fn page(&self) -> String {
        page::render(self)
    }

    fn json(&self) -> Value {
        let parameters = object(&self.parameters);
        let figures: Map<String, Value> = self
            .figures
            .iter()
            .map(|figure| (figure.name.to_owned(), json!(figure.value)))
            .collect();
        let times = object(&self.times);
        let timelines = object(&self.timelines);
        json!({
            "bench": self.bench,
            "target": self.target,
            "run": self.origin,
            "parameters": parameters,
            "figures": figures,
            "times": times,
            "timelines": timelines,
            "memory": self.memory.as_ref().map(memory_json),
        })
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let cells = |cells: &[&str]| {
            cells
                .iter()
                .map(|cell| (*cell).to_owned())
                .collect::<Vec<_>>()
        };
        let mut rows = vec![
            cells(&["bench", self.bench]),
            cells(&["target", self.target]),
        ];
        for (name, value) in &self.parameters {
            rows.push(cells(&[&words(name), &shown(value)]));
        }
        rows.push(Vec::new());
        for figure in &self.figures {
            rows.push(cells(&[&words(figure.name), &figure.text()]));
        }
        rows.extend(self.time_rows());
        rows.extend(self.memory.iter().flat_map(memory_rows));
        rows
    }

    fn time_rows(&self) -> Vec<Vec<String>> {
        if self.times.is_empty() {
            return Vec::new();
        }
        let head = ["time", "p50", "p90", "p99", "p99.9", "max", "mean"];
        let mut rows = vec![Vec::new(), head.map(str::to_owned).to_vec()];
        for (name, times) in &self.times {
            let mean = times.mean_us as u64;
            let mut row = vec![words(name)];
            row.extend(
                [
                    times.p50_us,
                    times.p90_us,
                    times.p99_us,
                    times.p999_us,
                    times.max_us,
                    mean,
                ]
                .map(time_text),
            );
            rows.push(row);
        }
        rows
    }
}

fn memory_rows(memory: &Growth) -> Vec<Vec<String>> {
    let head = ["memory", "per connection", "all"];
    let mut rows = vec![Vec::new(), head.map(str::to_owned).to_vec()];
    rows.extend(memory_parts(memory).into_iter().map(|(name, bytes)| {
        let (each, all) = match memory.each(bytes) {
            Some(each) => (
                format!("{each:.0} B"),
                format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
            ),
            None => {
                let fewer = bytes_text(-bytes as f64);
                let why = format!("{fewer} less than before");
                ("not measurable:".to_owned(), why)
            }
        };
        vec![name.to_owned(), each, all]
    }));
    rows
}

impl Figure {
    fn text(&self) -> String {
        match self.unit {
            Unit::Count | Unit::PerSecond => grouped(self.value.round() as u64),
            Unit::Seconds => format!("{:.3} s", self.value),
            Unit::Bytes => bytes_text(self.value),
            Unit::Ratio => format!("{:.3}", self.value),
        }
    }
}

fn object(members: &[(&str, impl Serialize)]) -> Map<String, Value> {
    let member = |(name, value): &(&str, _)| ((*name).to_owned(), json!(value));
    members.iter().map(member).collect()
}

/// The parts of memory that people are shown, in bytes.
fn memory_parts(memory: &Growth) -> Vec<(&'static str, i64)> {
    let mut parts = Vec::new();
    if let Some(bytes) = memory.server_user {
        parts.push(("server, user", bytes));
    }
    if let Some(bytes) = memory.server_user_total {
        parts.push(("  with what it had before", bytes.cast_signed()));
    }
    parts.extend([
        ("generator, user", memory.generator_user),
        ("kernel, both ends", memory.kernel()),
        ("  slab", memory.kernel_slab),
        ("  socket buffers", memory.kernel_socket_buffers),
        ("  page tables and stacks", memory.kernel_other),
        ("whole machine", memory.machine),
    ]);
    parts
}

fn memory_json(memory: &Growth) -> Value {
    let mut value = json!(memory);
    value["server_user_per_connection"] =
        json!(memory.server_user.and_then(|bytes| memory.each(bytes)));
    value["kernel"] = json!(memory.kernel());
    value["kernel_per_connection"] = json!(memory.each(memory.kernel()));
    value
}

/// Formats `deliveries_per_s` as `deliveries per s`.
fn words(name: &str) -> String {
    name.replace('_', " ")
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "none".to_owned(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::Number(number) => number.as_u64().map_or_else(|| number.to_string(), grouped),
        other => other.to_string(),
    }
}

/// Formats bytes for people; the number may be negative.
fn bytes_text(bytes: f64) -> String {
    const KIB: f64 = 1_024.0;
    match bytes.abs() {
        size if size < 10.0 * KIB => format!("{bytes:.0} B"),
        size if size < 1_000.0 * KIB => format!("{:.1} KiB", bytes / KIB),
        _ => format!("{:.2} MiB", bytes / (KIB * KIB)),
    }
}

/// Formats microseconds for people.
fn time_text(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} us"),
        1_000..1_000_000 => format!("{:.2} ms", us as f64 / 1e3),
        _ => format!("{:.3} s", us as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn sample() -> Report {
        let mut times = Times::new();
        (1..=1_000).for_each(|ms| times.record_ns(ms * 1_000_000));
        let mut timeline = Timeline::default();
        (0..50u32).for_each(|slot| timeline.add(u64::from(slot) * 10_000_000, 10 + slot));
        let mut report = Report::new("fanout", "oyez");
        report
            .parameter("subscribers", 10_000)
            .parameter("mode", "<seq>")
            .parameter("decode", true)
            .figure("deliveries_per_s", 123_456.7, Unit::PerSecond)
            .figure("seconds", 1.5, Unit::Seconds)
            .times("to_last_subscriber", &times)
            .times("never", &Times::new())
            .timeline("deliveries", &timeline)
            .memory(Growth {
                connections: 10,
                server_user: Some(1_280),
                server_user_total: Some(2_000),
                generator_user: 100,
                kernel_slab: 40_000,
                kernel_socket_buffers: 0,
                kernel_other: 0,
                machine: 50_000,
            });
        report
    }

    #[test]
    fn the_json_has_every_part() {
        let json = sample().json();
        assert_eq!(json["bench"], "fanout");
        assert_eq!(json["parameters"]["subscribers"], 10_000);
        assert_eq!(json["figures"]["seconds"], 1.5);
        assert_eq!(json["times"]["to_last_subscriber"]["count"], 1_000);
        assert!(json["times"]["never"].is_null());
        assert_eq!(json["timelines"]["deliveries"]["per_s"][0], 1_000.0);
        assert_eq!(json["memory"]["server_user_per_connection"], 128.0);
        assert_eq!(json["memory"]["kernel_per_connection"], 4_000.0);
    }

    #[test]
    fn the_table_is_for_people() {
        let rows = sample().rows();
        let text: Vec<String> = rows.iter().map(|row| row.join("|")).collect();
        assert!(
            text.contains(&"deliveries per s|123,457".to_owned()),
            "{text:?}"
        );
        assert!(text.contains(&"decode|yes".to_owned()));
        assert!(text.contains(&"server, user|128 B|0.0 MiB".to_owned()));
    }

    #[test]
    fn memory_that_shrank_is_not_measurable_and_no_negative_cost() {
        let mut report = sample();
        report.memory(Growth {
            connections: 10,
            server_user: Some(-40_000),
            server_user_total: Some(2_000),
            generator_user: -1,
            kernel_slab: -40_000,
            kernel_socket_buffers: 20_000,
            kernel_other: 0,
            machine: -50_000,
        });
        let json = report.json();
        assert!(json["memory"]["server_user_per_connection"].is_null());
        assert!(json["memory"]["kernel_per_connection"].is_null());
        assert_eq!(json["memory"]["server_user"], -40_000);
        let rows = report.rows();
        let text: Vec<String> = rows.iter().map(|row| row.join("|")).collect();
        let told = "server, user|not measurable:|39.1 KiB less than before";
        assert!(text.contains(&told.to_owned()), "{text:?}");
        assert!(!report.page().contains("-4000 B"), "{}", report.page());
    }

    #[test]
    fn bytes_have_the_unit_that_fits() {
        let told = [0.0, -4_096.0, 65_536.0, -3_145_728.0].map(bytes_text);
        assert_eq!(told, ["0 B", "-4096 B", "64.0 KiB", "-3.00 MiB"]);
    }

    #[test]
    fn times_have_the_unit_that_fits() {
        assert_eq!(
            [7, 1_500, 2_000_000].map(time_text),
            ["7 us", "1.50 ms", "2.000 s"]
        );
    }
}
