//! curl, as a newcomer types it.

use testkit::Broker;
use testkit::process::succeed;
use testkit::program::Program;

use testkit::tools::{Tool, are_here, command};

const CURL: [Tool; 1] = [Tool::Program("curl")];

fn curl(arguments: &[&str]) -> String {
    let output = succeed(command("curl").args(arguments));
    String::from_utf8(output.stdout).expect("text")
}

/// The lines of the next block of a stream, without its `id`, which is another one each time.
fn block(stream: &mut Program) -> Vec<String> {
    let lines = std::iter::from_fn(|| Some(stream.line()).filter(|line| !line.is_empty()));
    let (ids, lines): (Vec<String>, Vec<String>) = lines.partition(|line| line.starts_with("id: "));
    assert_eq!(ids.len(), 1, "{ids:?}");
    lines
}

#[test]
fn curl_publishes_and_reads_as_a_newcomer_types_it() {
    if !are_here("curl as a newcomer types it", &CURL) {
        return;
    }
    let broker = Broker::start();
    let site = format!("localhost:{}", broker.address().port());
    let (demo, demo_sse) = (format!("{site}/demo"), format!("{site}/demo/sse"));
    let mut stream = Program::start(command("curl").args(["-N", &demo_sse]));
    let begin = ["retry: 2000", "event: $place", "data: {}"];
    assert_eq!(block(&mut stream), begin);
    let answer = curl(&["-d", "hello", &demo]);
    assert!(
        answer.starts_with(r#"{"topic":"demo","offset":0,"#),
        "{answer}"
    );
    assert!(answer.ends_with("\n"), "the prompt has a line of its own");
    assert_eq!(block(&mut stream), ["data: hello"]);
    curl(&["--data-binary", "two\nlines", &demo]);
    assert_eq!(block(&mut stream), ["data: two", "data: lines"]);

    let earliest = format!("{demo_sse}?from=earliest");
    let mut late = Program::start(command("curl").args(["-N", &earliest]));
    block(&mut late);
    assert_eq!(block(&mut late), ["data: hello"]);
    assert!(curl(&[&site]).contains("/TOPIC/sse"), "what there is");
}

#[test]
fn curl_sends_files_of_any_size_and_in_chunks() {
    if !are_here("curl with files", &CURL) {
        return;
    }
    let broker = Broker::start();
    let url = format!("http://localhost:{}/files", broker.address().port());
    let file = broker.home().join("file");
    let mut reader = broker.connect();
    reader.subscribe("files", testkit::Start::Earliest);
    for (size, arguments) in [
        (0, &["--data-binary"][..]),
        // curl asks first whether so much is wanted.
        (200_000, &["-H", "Expect: 100-continue", "--data-binary"]),
        (
            200_000,
            &["-H", "Transfer-Encoding: chunked", "--data-binary"],
        ),
        (200_000, &["--upload-file"]),
    ] {
        let payload = testkit::random::Random::new(7).bytes(size);
        std::fs::write(&file, &payload).expect("the test's directory is writable");
        let mut command = command("curl");
        command.args(["--fail-with-body", "--silent", "--show-error"]);
        let name = file.to_str().expect("a plain name");
        let body = match arguments.ends_with(&["--upload-file"]) {
            true => name.to_owned(),
            false => format!("@{name}"),
        };
        succeed(command.args(arguments).args([&body, &url]));
        assert_eq!(reader.messages("files", 1)[0].1, payload, "{arguments:?}");
    }
}
