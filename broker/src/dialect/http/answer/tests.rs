use oyez_protocol::{Epoch, Offset};

use super::*;

const DATE: &str = "Date: Thu, 01 Jan 1970 00:00:01 GMT\n";
const SNIFF: &str = "X-Content-Type-Options: nosniff\n";
const ALWAYS: &str = "Cache-Control: no-store\n";

fn exchange() -> Exchange {
    Exchange {
        number: 7,
        taken: 0,
        is_being_taken: false,
        wants: Wants::Place("a/\"b".into()),
        is_head: false,
        is_1_0: false,
        closes: false,
        readers: None,
    }
}

/// The response to a request, in lines.
fn respond(exchange: &Exchange, reply: &Reply<'_>) -> String {
    assert!(answers(&mut exchange.clone(), reply));
    let mut out = Vec::new();
    answer(exchange, reply, 1_000, &mut out);
    String::from_utf8(out).expect("text").replace("\r\n", "\n")
}

fn entry(correlation: u64, outcome: Outcome) -> PublishedEntry {
    PublishedEntry {
        correlation: correlation << 16,
        offset: Offset::new(5),
        epoch: Epoch::new(0xa),
        outcome,
        retry_after_ms: 0,
    }
}

#[test]
fn a_publish_that_waits_is_answered_with_the_place_of_its_message() {
    let entries = [entry(6, Outcome::DiskFull), entry(7, Outcome::Ok)];
    let body = "{\"topic\":\"a/\\\"b\",\"offset\":5,\"epoch\":\"000000000000000a\"}\n";
    let head = format!(
        "HTTP/1.1 200 OK\n{DATE}Content-Type: application/json\n{SNIFF}Content-Length: 56\n{ALWAYS}"
    );
    let told = respond(&exchange(), &Reply::Published(&entries));
    assert_eq!(told, format!("{head}\n{body}"));
    let closes = Exchange {
        closes: true,
        is_1_0: true,
        ..exchange()
    };
    let told = respond(&closes, &Reply::Published(&entries));
    assert_eq!(told, format!("{head}Connection: close\n\n{body}"));
    assert!(!answers(&mut exchange(), &Reply::Published(&entries[..1])));
}

#[test]
fn the_outcome_of_a_message_is_a_status() {
    for (outcome, code, retries) in [
        (Outcome::DiskFull, 507, false),
        (Outcome::TooManyTopics, 507, false),
        (Outcome::Draining, 503, true),
        (Outcome::ReservedTopic, 403, false),
        (Outcome::LogFailed, 500, false),
    ] {
        let told = respond(&exchange(), &Reply::Published(&[entry(7, outcome)]));
        assert!(told.starts_with(&format!("HTTP/1.1 {code} ")), "{told}");
        assert_eq!(told.contains("Retry-After: 1\n"), retries, "{told}");
        assert!(told.contains("\n\n{\"error\":\""), "{told}");
    }
}

#[test]
fn errors_are_json_and_say_when_to_come_back() {
    let refusal = Refusal {
        request: 0,
        status: status::UNAVAILABLE,
        message: "a \"reason\"",
        retry_after_ms: 1_001,
    };
    let told = respond(&exchange(), &Reply::Refused(refusal));
    let expected = format!(
        "HTTP/1.1 503 Service Unavailable\n{DATE}Content-Type: application/json\n{SNIFF}Content-Length: 49\n{ALWAYS}\
         Retry-After: 2\n\n{{\"error\":\"unavailable\",\"message\":\"a \\\"reason\\\"\"}}\n"
    );
    assert_eq!(told, expected);
}

#[test]
fn an_answer_to_a_head_has_no_body_and_one_to_http_1_0_says_that_more_may_come() {
    let head = Exchange {
        is_head: true,
        is_1_0: true,
        ..exchange()
    };
    let told = respond(&head, &Reply::Said("text"));
    let expected = format!(
        "HTTP/1.1 200 OK\n{DATE}Content-Type: text/plain; charset=utf-8\n{SNIFF}Content-Length: 4\n{ALWAYS}\
         Connection: keep-alive\n\n"
    );
    assert_eq!(told, expected);
}

#[test]
fn pages_of_known_origins_are_told_what_they_may_ask() {
    let page = Exchange {
        readers: Some("https://app.example.com".into()),
        ..exchange()
    };
    let told = respond(&page, &Reply::Said(""));
    let expected = format!(
        "HTTP/1.1 204 No Content\n{DATE}Access-Control-Allow-Origin: https://app.example.com\nVary: Origin\n\
         Allow: GET, HEAD, POST, PUT, OPTIONS\nAccess-Control-Allow-Methods: GET, HEAD, POST, PUT, OPTIONS\nAccess-Control-Allow-Headers: *, Authorization\n\
         Access-Control-Max-Age: 600\n\n"
    );
    assert_eq!(told, expected);
    assert!(!respond(&exchange(), &Reply::Said("")).contains("Access-Control"));
    let told = respond(&page, &Reply::Taken);
    assert!(told.starts_with("HTTP/1.1 202 Accepted\n") && told.contains("Vary: Origin\n"));
}

#[test]
fn goodbyes_about_a_request_are_answers() {
    let goodbye = |code| Goodbye {
        code,
        retry_after_ms: 1_500,
        reason: "so".into(),
    };
    for (code, status) in [
        (GoodbyeCode::Silent, Some("408")),
        (GoodbyeCode::Full, Some("503")),
        (GoodbyeCode::TooFast, Some("429")),
        (GoodbyeCode::Draining, None),
        (GoodbyeCode::Done, None),
    ] {
        let mut out = Vec::new();
        conclude(&goodbye(code), 0, &mut out);
        let text = String::from_utf8(out).expect("text");
        match status {
            None => assert_eq!(text, ""),
            Some(status) => {
                assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
                assert!(
                    text.contains("Retry-After: 2\r\nConnection: close\r\n"),
                    "{text}"
                );
            }
        }
    }
    // A request that waits is answered in any case.
    let told = respond(
        &exchange(),
        &Reply::Goodbye(&goodbye(GoodbyeCode::Draining)),
    );
    assert!(told.starts_with("HTTP/1.1 503 "), "{told}");
}

#[test]
fn a_request_waits_for_nothing_but_its_answer() {
    for reply in [Reply::Ping { token: 1 }, Reply::Pong { token: 1 }] {
        assert!(!answers(&mut exchange(), &reply));
        let mut out = Vec::new();
        answer(&exchange(), &reply, 0, &mut out);
        assert!(out.is_empty());
    }
}

#[test]
fn an_answer_that_is_not_all_says_so() {
    let told = |json, more| {
        let request = 0;
        let told = respond(
            &exchange(),
            &Reply::Answer {
                request,
                more,
                json,
            },
        );
        told.split_once("\n\n").expect("a body").1.to_owned()
    };
    assert_eq!(told("{\"topics\":[]}", false), "{\"topics\":[]}\n");
    assert_eq!(
        told("{\"topics\":[]}", true),
        "{\"topics\":[],\"more\":true}\n"
    );
}

#[test]
fn a_broker_that_is_not_well_is_unavailable() {
    let json = "{\"ready\":false}\n";
    for (is_well, code) in [(true, "200 OK"), (false, "503 Service Unavailable")] {
        let told = respond(&exchange(), &Reply::Health { is_well, json });
        assert!(told.starts_with(&format!("HTTP/1.1 {code}\n")), "{told}");
        assert!(told.ends_with("\n\n{\"ready\":false}\n"), "{told}");
    }
}

#[test]
fn outcomes_of_several_messages_are_answered_in_their_order() {
    let batch = |is_list| Exchange {
        wants: Wants::Places(Box::new(PublishBatch {
            topics: vec!["a".into(), "b".into()],
            rows: vec![(0, 0), (1, 0), (0, 1)],
            outcomes: vec![None, None],
            is_list,
        })),
        ..exchange()
    };
    let record = |number: u64, outcome| PublishedEntry {
        correlation: 7 << 16 | number,
        ..entry(7, outcome)
    };
    let mut waiting = batch(true);
    let other = entry(6, Outcome::Ok);
    assert!(!answers(
        &mut waiting,
        &Reply::Published(&[other, record(1, Outcome::DiskFull)])
    ));
    let last = Reply::Published(&[record(0, Outcome::Ok)]);
    assert!(answers(&mut waiting, &last));
    let told = respond(&waiting, &last);
    let (head, body) = told.split_once("\n\n").expect("a body");
    assert!(head.starts_with("HTTP/1.1 507 "), "{head}");
    let rows: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(
        rows[0],
        serde_json::json!({"topic":"a","offset":5,"epoch":"000000000000000a"})
    );
    assert_eq!(rows[1]["error"], "disk_full");
    assert_eq!(rows[2]["offset"], 6);
}

#[test]
fn an_outcome_that_no_request_waits_for_is_no_answer() {
    let mut waits_not = Exchange {
        wants: Wants::Nothing,
        ..exchange()
    };
    assert!(!answers(
        &mut waits_not,
        &Reply::Published(&[entry(7, Outcome::Ok)])
    ));
}
