use oyez_protocol::Epoch;
use oyez_protocol::event::{GoodbyeCode, Outcome};

use super::*;
use crate::dialect::command;
use crate::dialect::form::Style;

const EPOCH: Epoch = Epoch::new(0xab);
/// The tokens of offsets 4 and 5 of that epoch.
const ID_4: &str = "id: AQABAKsAAAAAAAAABAAAAAAAAAAA11m9FA\n";
const ID_5: &str = "id: AQABAKsAAAAAAAAABQAAAAAAAAAAn4-D4A\n";

fn form(kind: Kind) -> Form {
    Form {
        kind,
        style: Style::default(),
    }
}

const CHUNKED: Form = Form {
    kind: Kind::Events,
    style: Style::CHUNKED,
};

/// What `write` adds.
fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).expect("text")
}

fn subscribed() -> Subscribed {
    Subscribed {
        request: 0,
        outcome: Outcome::Ok,
        asked: Offset::new(3),
        next: Offset::new(5),
        earliest: Offset::new(5),
        head: Offset::new(9),
        epoch: EPOCH,
        epoch_changed: false,
        dropped: false,
    }
}

#[test]
fn a_stream_begins_with_the_place_where_it_begins_and_what_is_missing() {
    let told = |kind, subscribed: &Subscribed| written(|out| begin(form(kind), subscribed, out));
    let head = format!("retry: 2000\n{ID_5}");
    let gap = "{\"cause\":\"retention\",\"from\":3,\"to\":5}";
    let epoch = "{\"epoch\":\"00000000000000ab\",\"from\":5}";
    let dropped = Subscribed {
        dropped: true,
        ..subscribed()
    };
    let changed = Subscribed {
        epoch_changed: true,
        ..subscribed()
    };
    assert_eq!(
        told(Kind::Events, &subscribed()),
        format!("{head}event: $place\ndata: {{}}\n\n")
    );
    assert_eq!(
        told(Kind::Events, &dropped),
        format!("{head}event: $gap\ndata: {gap}\n\n")
    );
    assert_eq!(
        told(Kind::Events, &changed),
        format!("{head}event: $epoch\ndata: {epoch}\n\n")
    );
    assert_eq!(told(Kind::Lines, &subscribed()), "");
    let line = format!("{{\"event\":\"$gap\",{}\n", &gap[1..]);
    assert_eq!(told(Kind::Lines, &dropped), line);
    let line = format!("{{\"event\":\"$epoch\",{}\n", &epoch[1..]);
    assert_eq!(told(Kind::Lines, &changed), line);
    assert_eq!(told(Kind::Raw, &subscribed()), "");
    let plain = told(Kind::Events, &subscribed());
    let chunk = format!("{:08x}\r\n{plain}\r\n", plain.len());
    assert_eq!(written(|out| begin(CHUNKED, &subscribed(), out)), chunk);
}

#[test]
fn payloads_alone_begin_where_they_were_asked_for_or_not_at_all() {
    for (dropped, epoch_changed) in [(true, false), (false, true)] {
        let missing = Subscribed {
            dropped,
            epoch_changed,
            ..subscribed()
        };
        assert!(!can_begin(form(Kind::Raw), &missing));
        assert!(can_begin(form(Kind::Events), &missing) && can_begin(form(Kind::Lines), &missing));
    }
    assert!(can_begin(form(Kind::Raw), &subscribed()));
}

#[test]
fn a_gap_is_an_event_and_breaks_off_a_form_without_events() {
    let gap = Reply::Gap {
        topic: "a",
        cause: GapCause::Damage,
        from: Offset::new(1),
        to: Offset::new(4),
        epoch: EPOCH,
    };
    let data = "{\"cause\":\"damage\",\"from\":1,\"to\":4}";
    let told = |kind| written(|out| tell(form(kind), &gap, out));
    assert_eq!(
        told(Kind::Events),
        format!("{ID_4}event: $gap\ndata: {data}\n\n")
    );
    assert_eq!(
        told(Kind::Lines),
        format!("{{\"event\":\"$gap\",{}\n", &data[1..])
    );
    assert_eq!(telling(form(Kind::Events), &gap), Telling::Told);
    assert_eq!(telling(form(Kind::Lines), &gap), Telling::Told);
    assert_eq!(telling(form(Kind::Raw), &gap), Telling::Impossible);
}

#[test]
fn a_sign_of_life_is_what_clients_pass_over() {
    let ping = Reply::Ping { token: 1 };
    let told = |form| written(|out| tell(form, &ping, out));
    assert_eq!(told(form(Kind::Events)), ":\n\n");
    assert_eq!(told(CHUNKED), "00000003\r\n:\n\n\r\n");
    assert_eq!(told(form(Kind::Lines)), "{\"event\":\"$keepalive\"}\n");
    assert_eq!(telling(form(Kind::Raw), &ping), Telling::Nothing);
    assert_eq!(
        telling(CHUNKED, &Reply::Pong { token: 1 }),
        Telling::Nothing
    );
}

#[test]
fn a_stream_ends_with_the_time_to_come_back() {
    let goodbye = command::Goodbye {
        code: GoodbyeCode::Draining,
        retry_after_ms: 1_234,
        reason: "so".into(),
    };
    let end = |form| written(|out| conclude(form, (&goodbye, &[]), out));
    assert_eq!(end(form(Kind::Events)), "retry: 1734\n\n");
    assert_eq!(end(CHUNKED), "0000000d\r\nretry: 1734\n\n\r\n0\r\n\r\n");
    assert_eq!(end(form(Kind::Lines)), "");
    let lines = Form {
        kind: Kind::Lines,
        style: Style::CHUNKED,
    };
    assert_eq!(end(lines), "0\r\n\r\n");
}

const SEVERAL: Form = Form {
    kind: Kind::Events,
    style: Style::SEVERAL,
};

/// The token of offset 5 of `a` and offset 9 of `b`, and the event that it comes with.
const BOTH: &str =
    "id: AQACAKsAAAAAAAAABQAAAAAAAAABYasAAAAAAAAACQAAAAAAAAABYjMKwAU\nevent: $place\ndata: {}\n\n";

#[test]
fn a_stream_of_several_topics_says_of_each_what_is_missing_and_where_all_of_them_stand() {
    let whole = Subscribed {
        next: Offset::new(9),
        ..subscribed()
    };
    let (dropped, epoch_changed) = (true, true);
    let missing = Subscribed {
        dropped,
        ..subscribed()
    };
    let changed = Subscribed {
        epoch_changed,
        ..subscribed()
    };
    let told = |first: Subscribed| {
        let begun = [("a", &first), ("b", &whole)];
        written(|out| begin_several(SEVERAL, &begun, out))
    };
    let retry = "retry: 2000\n";
    assert_eq!(told(subscribed()), format!("{retry}{BOTH}"));
    let gap = "{\"topic\":\"a\",\"cause\":\"retention\",\"from\":3,\"to\":5}";
    assert_eq!(
        told(missing),
        format!("{retry}event: $gap\ndata: {gap}\n\n{BOTH}")
    );
    let epoch = "{\"topic\":\"a\",\"epoch\":\"00000000000000ab\",\"from\":5}";
    assert_eq!(
        told(changed),
        format!("{retry}event: $epoch\ndata: {epoch}\n\n{BOTH}")
    );
}

#[test]
fn a_stream_of_several_topics_is_told_where_it_stands_and_of_which_topic_a_gap_is() {
    let gap = Reply::Gap {
        topic: "b",
        cause: GapCause::Damage,
        from: Offset::new(1),
        to: Offset::new(4),
        epoch: EPOCH,
    };
    let data = "{\"topic\":\"b\",\"cause\":\"damage\",\"from\":1,\"to\":4}";
    assert_eq!(
        written(|out| tell(SEVERAL, &gap, out)),
        format!("event: $gap\ndata: {data}\n\n")
    );
    let place = |name, next| Place {
        name,
        epoch: EPOCH,
        next: Numbered::Offset(Offset::new(next)),
    };
    let places = [place("a", 5), place("b", 9)];
    assert_eq!(telling(SEVERAL, &Reply::ResumeAt(&places)), Telling::Told);
    assert_eq!(
        written(|out| tell(SEVERAL, &Reply::ResumeAt(&places), out)),
        BOTH
    );
    let goodbye = command::Goodbye {
        code: GoodbyeCode::Draining,
        retry_after_ms: 1_234,
        reason: "so".into(),
    };
    let end = |places| written(|out| conclude(SEVERAL, (&goodbye, places), out));
    assert_eq!(end(&places), format!("{BOTH}retry: 1734\n\n"));
}
