//! curl with files. What the pages show of it, `tests/docs` runs.

use testkit::Broker;
use testkit::process::succeed;

use testkit::tools::{Tool, are_here, command};

const CURL: [Tool; 1] = [Tool::Program("curl")];

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
