//! Rules of the code that can be read off its sources: which crate may use which, where `unsafe` may stand, how long
//! files and functions get, that tests wait for conditions and not for times.

#[path = "tidy/named.rs"]
mod named;
#[path = "tidy/public.rs"]
mod public;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use testkit::process::succeed;
use testkit::programs::{cargo, workspace};

/// Lines of a file at most.
const FILE_LINES_MAX: usize = 800;
/// Lines of the broker's turn, which is to be read like a table of contents.
const SHARD_LINES_MAX: usize = 250;
/// Lines of a function at most, from its signature to its closing brace.
const FUNCTION_LINES_MAX: usize = 60;

/// Crates that a user of the client library compiles at most, that library included.
const CLIENT_CRATES_MAX: usize = 12;

/// What each crate may use of the others.
const DIRECTIONS: [(&str, &[&str]); 7] = [
    ("oyez-protocol", &[]),
    ("oyez-storage", &["oyez-protocol"]),
    ("oyez-sys", &[]),
    (
        "oyez-doctor",
        &["oyez-protocol", "oyez-storage", "oyez-sys"],
    ),
    (
        "oyez-broker",
        &["oyez-doctor", "oyez-protocol", "oyez-storage", "oyez-sys"],
    ),
    ("oyez-client", &["oyez-protocol"]),
    ("oyez-cli", &["oyez-client", "oyez-protocol", "oyez-sys"]),
];

/// Files that import the broker's shard: what runs it in a thread, in a simulator and in unit tests.
const SHARD_IMPORTERS: [&str; 3] = ["rig", "server", "simulation"];
/// Files of each crate that import one another in a circle. To fall with each cut, to none.
const IN_CIRCLES: [(&str, usize); 8] = [
    ("protocol/src", 0),
    ("storage/src", 0),
    ("broker/sys/src", 0),
    ("broker/doctor/src", 0),
    ("broker/src", 0),
    ("client/src", 0),
    ("client/cli/src", 0),
    ("benches/src/bin/oyez-compare", 0),
];

/// Rooms of the broker, from the ground up. A file imports from its own room and from those below.
const ROOMS: [&[&str]; 11] = [
    &["dialect"],
    &[
        "sys",
        "sync",
        "clock",
        "config",
        "error",
        "listen",
        "networks",
        "plan",
        "parts::phase",
    ],
    &["net"],
    &["measure"],
    &["parts"],
    &["replies"],
    &["turn"],
    &["dispatch"],
    &["lend"],
    &["steps", "dispatch_mail", "shutdown"],
    &["shard"],
];
/// Dialects, and the lowest room but their own whose files may import them. Below it only their values are known.
const DIALECTS: (&[&str], &str) = (
    &[
        "dialect::native",
        "dialect::http",
        "dialect::proxy",
        "dialect::refused",
        "dialect::sniff",
        "dialect::sse",
        "dialect::stream",
        "dialect::lines",
        "dialect::render",
        "dialect::websocket",
        "dialect::websocket::close",
        "dialect::websocket::json",
    ],
    "replies",
);
/// Steps that import another one.
const STEPS: [(&str, &[&str]); 5] = [
    ("turn::flush", &["turn::catchup"]),
    ("turn::fanout", &["turn::wave"]),
    ("turn::catchup", &["turn::render", "turn::wave"]),
    ("turn::wave", &["turn::render"]),
    // A part of that step.
    ("turn::read::messages", &["turn::read"]),
];

/// Files, and directories of them, that are not simulated.
const RIMS: [&str; 30] = [
    "storage/src/sys/",
    "storage/src/choice.rs",
    "broker/src/sys/",
    "broker/src/net/kernel.rs",
    "broker/src/net/port.rs",
    "broker/src/clock.rs",
    "broker/src/server.rs",
    "broker/src/ends.rs",
    "broker/src/memory_trim.rs",
    "broker/src/watch.rs",
    "broker/src/cli.rs",
    "broker/src/main.rs",
    "broker/src/config.rs",
    "broker/src/listen.rs",
    "broker/src/stop.rs",
    "broker/src/rig.rs",
    "broker/src/short_counts.rs",
    "client/cli/src/",
    "client/src/time.rs",
    "client/src/options.rs",
    "client/src/client.rs",
    "client/src/connection.rs",
    "client/src/keepalive.rs",
    "client/src/publisher.rs",
    "client/src/session.rs",
    "client/src/session_hub.rs",
    "client/src/slot.rs",
    "client/src/spare.rs",
    "client/src/subscription.rs",
    "client/src/writer.rs",
];
/// How the machine's clocks and its chance are asked for.
const MACHINE: [&str; 6] = [
    "Instant::now",
    "SystemTime",
    "getrandom",
    "/dev/urandom",
    "thread::sleep",
    "thread::spawn",
];
/// Walks whose order does not matter: what they give is sorted, counted, or the one with the least number.
const WALKED: [&str; 3] = [
    // Sorted by name.
    "storage/src/state.rs",
    // The file that was used longest ago: no two were used at the same time.
    "storage/src/reader.rs",
    // Sorted by time and name.
    "client/src/batch.rs",
];

struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// The path from the root of the workspace.
    fn name(&self) -> String {
        let path = self.path.strip_prefix(workspace()).unwrap_or(&self.path);
        path.display().to_string()
    }

    /// Lines that are not comments, with their numbers.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..)
            .zip(self.text.lines())
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    fn is_test(&self) -> bool {
        let name = self.name();
        name.starts_with("tests/") || name.contains("/tests/")
    }
}

/// Every Rust source of the workspace.
fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    gather(workspace(), &mut sources);
    assert!(sources.len() > 50, "the sources are found");
    sources
}

fn gather(directory: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        let name = entry.file_name();
        let hidden = name.to_string_lossy().starts_with('.');
        if path.is_dir() {
            if !hidden && name != "target" {
                gather(&path, sources);
            }
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            let text = fs::read_to_string(&path).expect("sources are UTF-8");
            sources.push(Source { path, text });
        }
    }
}

/// Fails with all faults at once.
fn none(faults: &[String], rule: &str) {
    assert!(faults.is_empty(), "{rule}:\n{}", faults.join("\n"));
}

fn metadata() -> serde_json::Value {
    let output = succeed(cargo().args(["metadata", "--no-deps", "--format-version", "1"]));
    serde_json::from_slice(&output.stdout).expect("cargo prints JSON")
}

/// The crates of the workspace that each of them uses outside its tests.
fn uses() -> BTreeMap<String, Vec<String>> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let used = |package: &serde_json::Value| {
        list(&package["dependencies"])
            .iter()
            .filter(|dependency| dependency["kind"].is_null())
            .map(|dependency| text(&dependency["name"]))
            .filter(|name| name.starts_with("oyez-"))
            .collect()
    };
    list(&metadata()["packages"])
        .iter()
        .map(|package| (text(&package["name"]), used(package)))
        .collect()
}

#[test]
fn crates_use_each_other_in_one_direction() {
    let uses = uses();
    let mut faults = Vec::new();
    for (name, allowed) in DIRECTIONS {
        let used = &uses[name];
        let wrong = used.iter().filter(|used| !allowed.contains(&used.as_str()));
        faults.extend(wrong.map(|used| format!("{name} uses {used}")));
    }
    none(
        &faults,
        "protocol <- storage <- broker, protocol <- client <- cli, sys <- doctor <- broker",
    );
    let others: Vec<&String> = uses
        .keys()
        .filter(|name| DIRECTIONS.iter().all(|(known, _)| known != name))
        .collect();
    assert_eq!(
        others,
        ["oyez-benches", "oyez-tests"],
        "crates that see all"
    );
}

/// Macros of others, and what they are made of, count as well.
#[test]
fn a_program_with_the_client_library_compiles_few_crates() {
    let tree = ["tree", "--locked", "--package", "oyez-client"];
    let every_line = ["--edges", "normal", "--prefix", "none"];
    let output = succeed(cargo().args(tree).args(every_line));
    let text = String::from_utf8(output.stdout).expect("names are text");
    let crates: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(crates.contains("oyez-protocol"), "{crates:?}");
    assert!(crates.len() <= CLIENT_CRATES_MAX, "{crates:?}");
}

/// A record of a native publisher passes as it is. Those that come in other dialects are built there.
#[test]
fn in_the_broker_only_dialects_name_the_codec() {
    let (mut named, mut faults) = (0, Vec::new());
    for source in sources() {
        let name = source.name();
        if !(name.starts_with("broker/src/") || name.starts_with("storage/src/")) {
            continue;
        }
        for (number, line) in source.code() {
            if !line.contains("lz4") {
                continue;
            }
            match name.starts_with("broker/src/dialect/") {
                true => named += 1,
                false => faults.push(format!("{name}:{number}: {}", line.trim())),
            }
        }
    }
    assert!(named > 0, "the codec is found where it is used");
    none(&faults, "the codec in dialects only");
}

#[test]
fn unsafe_stands_behind_the_fence_of_a_sys_module() {
    let words = ["{", "fn", "impl", "extern", "trait"];
    let mut faults = Vec::new();
    for source in sources() {
        if source.name().contains("/sys/") {
            continue;
        }
        for (number, line) in source.code() {
            let follows = |word: &str| line.contains(&format!("unsafe {word}"));
            if words.iter().any(|word| follows(word)) && !line.contains('"') {
                faults.push(format!("{}:{number}: {}", source.name(), line.trim()));
            }
        }
    }
    none(&faults, "unsafe only in sys/");
}

#[test]
fn sockets_of_the_broker_stand_behind_its_net() {
    let types = [
        "TcpStream",
        "TcpListener",
        "UnixStream",
        "UdpSocket",
        "mio::",
    ];
    let mut faults = Vec::new();
    for source in sources() {
        let name = source.name();
        let elsewhere = ["sys/", "net/", "short_counts.rs"];
        let file = name.strip_prefix("broker/src/").unwrap_or("sys/");
        if elsewhere.iter().any(|place| file.starts_with(place)) {
            continue;
        }
        for (number, line) in source.code() {
            if types.iter().any(|socket| line.contains(socket)) {
                faults.push(format!("{name}:{number}: {}", line.trim()));
            }
        }
    }
    none(&faults, "socket types only in net/ and sys/");
}

#[test]
fn the_crates_without_system_calls_forbid_unsafe() {
    for root in [
        "protocol/src/lib.rs",
        "client/src/lib.rs",
        "broker/doctor/src/lib.rs",
    ] {
        let text = fs::read_to_string(workspace().join(root)).unwrap();
        assert!(text.contains("#![forbid(unsafe_code)]"), "{root}");
    }
}

#[test]
fn files_stay_short_enough_to_be_read() {
    let long = |source: &Source| {
        let lines = source.text.lines().count();
        let is_shard = source.name() == "broker/src/shard.rs";
        let max = if is_shard {
            SHARD_LINES_MAX
        } else {
            FILE_LINES_MAX
        };
        (lines > max).then(|| format!("{}: {lines} lines", source.name()))
    };
    let faults: Vec<String> = sources().iter().filter_map(long).collect();
    none(&faults, &format!("at most {FILE_LINES_MAX} lines"));
}

#[test]
fn functions_stay_short_enough_to_be_read() {
    let mut faults = Vec::new();
    for source in sources() {
        let lines: Vec<&str> = source.text.lines().collect();
        for (start, line) in lines.iter().enumerate() {
            let Some(end) = function_end(line, &lines[start..]) else {
                continue;
            };
            if end >= FUNCTION_LINES_MAX {
                let name = line.trim();
                faults.push(format!(
                    "{}:{}: {} lines: {name}",
                    source.name(),
                    start + 1,
                    end + 1
                ));
            }
        }
    }
    none(&faults, &format!("at most {FUNCTION_LINES_MAX} lines"));
}

/// Where the function that begins in `line` ends: rustfmt puts its brace below its first letter.
fn function_end(line: &str, from_here: &[&str]) -> Option<usize> {
    let code = line.trim_start();
    let indent = &line[..line.len() - code.len()];
    let words: Vec<&str> = code.split_whitespace().take(6).collect();
    let at = words.iter().position(|word| *word == "fn")?;
    let modifiers = ["const", "unsafe", "extern", "async", "\"C\""];
    let is_signature = words[..at]
        .iter()
        .all(|word| word.starts_with("pub") || modifiers.contains(word) || *word == "super)");
    if !is_signature {
        return None;
    }
    let brace = format!("{indent}}}");
    let declaration_ends = from_here
        .iter()
        .position(|line| line.ends_with([';', '{']))?;
    if from_here[declaration_ends].ends_with(';') {
        return None;
    }
    from_here.iter().position(|line| *line == brace)
}

/// What of each crate is not simulated: it stands between the simulated and the machine, or beside both.
fn is_simulated(name: &str) -> bool {
    let rims = RIMS.iter();
    let is_rim = rims.clone().any(|rim| name.starts_with(rim));
    let crates = [
        "protocol/src/",
        "storage/src/",
        "broker/src/",
        "client/src/",
    ];
    let is_ours = crates.iter().any(|root| name.starts_with(root));
    let is_test =
        name.ends_with("tests.rs") || name.contains("/tests/") || name.ends_with("models.rs");
    is_ours && !is_rim && !is_test
}

#[test]
fn the_simulated_reads_no_clock_and_draws_no_lots() {
    let mut faults = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| is_simulated(&source.name()))
    {
        for (number, line) in source.code() {
            if line.trim() == "mod tests {" {
                break;
            }
            if MACHINE.iter().any(|word| line.contains(word)) {
                faults.push(format!("{}:{number}: {}", source.name(), line.trim()));
            }
        }
    }
    none(
        &faults,
        "what decides is told the time and the chance: a seed is to mean the same run everywhere",
    );
}

/// Names of maps and sets in a file whose order is another in each process.
fn unordered(source: &Source) -> Vec<&str> {
    let declared = source.code().filter_map(|(_, line)| {
        let (name, kind) = line
            .trim()
            .split_once(": ")
            .filter(|_| !line.contains("fn "))?;
        let is_unordered = ["HashMap<", "HashSet<"]
            .iter()
            .any(|map| kind.contains(map));
        // One with a hasher of its own has the same order everywhere.
        let is_own = kind.contains("BuildHasherDefault");
        let name = name.rsplit(' ').next()?;
        (is_unordered && !is_own && name.chars().all(|c| c.is_alphanumeric() || c == '_'))
            .then_some(name)
    });
    declared.collect()
}

#[test]
fn the_simulated_walks_no_map_whose_order_is_chance() {
    let walks = [
        ".iter()",
        ".iter_mut()",
        ".values()",
        ".values_mut()",
        ".keys()",
        ".drain()",
        ".into_iter()",
        ".retain(",
    ];
    let mut faults = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| is_simulated(&source.name()))
    {
        for map in unordered(source) {
            for (number, line) in source.code() {
                let walked = walks
                    .iter()
                    .any(|walk| line.contains(&format!("{map}{walk}")));
                let looped = [
                    format!("in {map} "),
                    format!("in &{map} "),
                    format!("in &self.{map} "),
                    format!("in self.{map} "),
                ];
                if walked || looped.iter().any(|looped| line.contains(looped)) {
                    faults.push(format!("{}:{number}: {}", source.name(), line.trim()));
                }
            }
        }
    }
    faults.retain(|fault| !WALKED.iter().any(|known| fault.contains(known)));
    none(
        &faults,
        "a map is walked in an order that is another in each process; take a BTreeMap, or sort what comes out",
    );
}

#[test]
fn tests_wait_for_conditions_and_not_for_times() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| source.is_test()) {
        for (number, line) in source.code() {
            let naps = line.contains("sleep(") && !line.contains('"');
            let pauses = line.contains("park_timeout(")
                && !line.contains('"')
                && !source.name().ends_with("deadline.rs");
            if naps || pauses {
                faults.push(format!("{}:{number}: {}", source.name(), line.trim()));
            }
        }
    }
    none(&faults, "wait for a condition with a deadline");
}

#[test]
fn every_file_of_system_tests_is_run() {
    let package = workspace().join("tests");
    let manifest = fs::read_to_string(package.join("Cargo.toml")).unwrap();
    let mut faults = Vec::new();
    for entry in fs::read_dir(&package).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".rs") && !manifest.contains(&format!("path = \"{name}\"")) {
            faults.push(format!("tests/{name}"));
        }
    }
    none(&faults, "listed in tests/Cargo.toml");
}

/// A crate's files by their modules, each with the modules of the same crate that its code names. Its tests may name
/// any.
fn imports(root: &str) -> BTreeMap<String, BTreeSet<String>> {
    let directory = workspace().join(root);
    let mut sources = Vec::new();
    gather(&directory, &mut sources);
    // As tests at the end of a file.
    let tests = ["tests.rs", "models.rs"];
    sources.retain(|source| !tests.iter().any(|name| source.path.ends_with(name)));
    let is_beside_tests = |directory: &Path| directory.with_extension("rs").ends_with("tests.rs");
    sources.retain(|source| !source.path.parent().is_some_and(is_beside_tests));
    let module = |source: &Source| {
        let path = source
            .path
            .strip_prefix(&directory)
            .expect("gathered there");
        let path = path.with_extension("").display().to_string();
        let path = path.replace('/', "::");
        path.trim_end_matches("::mod").to_owned()
    };
    let modules: BTreeSet<String> = sources.iter().map(module).collect();
    let roots = ["lib", "main"];
    let named = |source: &Source| {
        let own = module(source);
        let code = source.text.split("#[cfg(test)]\nmod tests").next();
        let code = code.unwrap_or_default().lines();
        let code = code.filter(|line| !line.trim_start().starts_with("//"));
        let paths = code.flat_map(|line| paths_of_the_crate(&own, line));
        let files = paths.filter_map(|path| file_of(&path, &modules));
        files.filter(|file| *file != own).collect()
    };
    let files = sources
        .iter()
        .filter(|source| !roots.contains(&&*module(source)));
    files
        .map(|source| (module(source), named(source)))
        .collect()
}

/// The paths in a line of module `own` that begin with `crate::` or `super::`, from the root of the crate.
fn paths_of_the_crate(own: &str, line: &str) -> Vec<String> {
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let words = line.split(|c| !is_path(c));
    let path = |word: &str| {
        if let Some(path) = word.strip_prefix("crate::") {
            return Some(path.to_owned());
        }
        let (mut home, mut rest) = (own, word.strip_prefix("super::")?);
        loop {
            home = home.rsplit_once("::").map_or("", |(parent, _)| parent);
            match rest.strip_prefix("super::") {
                Some(further) => rest = further,
                None => return Some(format!("{home}::{rest}").trim_start_matches(':').to_owned()),
            }
        }
    };
    words.filter_map(path).collect()
}

/// The module with a file of its own that a path leads into.
fn file_of(path: &str, modules: &BTreeSet<String>) -> Option<String> {
    let mut path = path.trim_end_matches(':');
    while !modules.contains(path) {
        path = path.rsplit_once("::")?.0;
    }
    Some(path.to_owned())
}

/// The files from which a way leads back to themselves.
fn in_circles(imports: &BTreeMap<String, BTreeSet<String>>) -> Vec<&str> {
    let comes_back = |from: &&String| {
        let mut met = BTreeSet::new();
        let mut ahead = vec![*from];
        while let Some(file) = ahead.pop() {
            for next in imports.get(file).into_iter().flatten() {
                if next == *from {
                    return true;
                }
                if met.insert(next) {
                    ahead.push(next);
                }
            }
        }
        false
    };
    let files = imports.keys().filter(comes_back);
    files.map(String::as_str).collect()
}

#[test]
fn files_do_not_import_one_another_in_circles() {
    for (root, known) in IN_CIRCLES {
        let imports = imports(root);
        let circle = in_circles(&imports);
        assert_eq!(circle.len(), known, "{root}: {circle:?}");
    }
}

#[test]
fn only_what_runs_the_shard_imports_it() {
    let imports = imports("broker/src");
    let shard = "shard".to_owned();
    let importers = imports.iter().filter(|(_, named)| named.contains(&shard));
    let importers: Vec<&String> = importers.map(|(file, _)| file).collect();
    assert_eq!(importers, SHARD_IMPORTERS);
}

/// The room of a file of the broker; none for what starts and stops the shards, and for what the doctor examines.
fn room_of(file: &str) -> Option<usize> {
    let is_in = |room: &&str| file == *room || file.starts_with(&format!("{room}::"));
    ROOMS.iter().position(|rooms| rooms.iter().any(is_in))
}

#[test]
fn what_lies_below_the_steps_names_no_dialect() {
    let (dialects, lowest) = DIALECTS;
    let (ground, lowest) = (room_of("dialect"), room_of(lowest));
    let below = |file: &str| {
        let room = room_of(file);
        room.is_some() && room != ground && room < lowest
    };
    let mut faults = Vec::new();
    for (file, named) in &imports("broker/src") {
        let dialects = named
            .iter()
            .filter(|name| dialects.contains(&name.as_str()));
        faults.extend(dialects.map(|name| format!("{file} imports {name}")));
    }
    assert!(!faults.is_empty(), "somebody speaks with clients");
    faults.retain(|fault| below(fault.split(' ').next().unwrap_or_default()));
    none(&faults, "of dialects, parts know the values only");
}

#[test]
fn what_the_broker_is_made_of_names_no_frames_but_in_its_dialects() {
    let words = [
        "Frame",
        "FrameError",
        "FrameHead",
        "encode_ping",
        "encode_pong",
    ];
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let (mut files, mut faults) = (0, Vec::new());
    for source in sources() {
        let name = source.name();
        let Some(file) = name.strip_prefix("broker/src/") else {
            continue;
        };
        let module = file.trim_end_matches(".rs").replace('/', "::");
        if room_of(&module).is_none_or(|room| Some(room) == room_of("dialect")) {
            continue;
        }
        files += 1;
        for (number, line) in source.code() {
            let names = |word| line.split(|c| !is_word(c)).any(|found| found == word);
            if line.contains(".encode(") || words.into_iter().any(names) {
                faults.push(format!("{name}:{number}: {}", line.trim()));
            }
        }
    }
    assert!(files > 50, "the rooms are found");
    none(&faults, "commands and replies, and frames in dialects only");
}

#[test]
fn the_rooms_of_the_broker_import_in_one_direction() {
    let imports = imports("broker/src");
    let mut faults = Vec::new();
    for (file, named) in &imports {
        let Some(room) = room_of(file) else { continue };
        let rises = |name: &&String| room_of(name).is_none_or(|other| other > room);
        let rising = named.iter().filter(rises);
        faults.extend(rising.map(|name| format!("{file} imports {name}")));
        let steps: Vec<&str> = named
            .iter()
            .map(String::as_str)
            .filter(|name| file.starts_with("turn::") && name.starts_with("turn::"))
            .collect();
        let known = STEPS.iter().find(|(step, _)| step == file);
        if steps != known.map_or(&[][..], |(_, known)| known) {
            faults.push(format!("{file} imports the steps {steps:?}"));
        }
    }
    none(&faults, "from the room above to the one below");
}
