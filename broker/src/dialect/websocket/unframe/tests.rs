use super::*;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const ALL: Accepts = Accepts {
    text: true,
    binary: true,
    size_max: 1 << 20,
};

/// A frame as a client sends it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        size @ 0..=SHORT_MAX => frame.push(MASKED | size as u8),
        size if size <= usize::from(u16::MAX) => {
            frame.push(MASKED | SIZE_16);
            frame.extend((size as u16).to_be_bytes());
        }
        size => {
            frame.push(MASKED | SIZE_64);
            frame.extend((size as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    let mask = MASK.iter().cycle();
    frame.extend(payload.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
    frame
}

/// The pieces that have come, in words.
fn heard(pieces: &[&[u8]], accepts: Accepts) -> Result<Vec<String>, (u16, Vec<String>)> {
    let (mut state, mut out, mut told) = (Unframing::default(), Vec::new(), Vec::new());
    for piece in pieces {
        let mut input = *piece;
        loop {
            match state.next(&mut input, accepts, &mut out) {
                Ok(Piece::Nothing) => break,
                Ok(Piece::Message { ends: false, .. }) => {}
                Ok(Piece::Message { is_text, .. }) => {
                    let kind = if is_text { "text" } else { "binary" };
                    told.push(format!("{kind} {}", out.escape_ascii()));
                    out.clear();
                }
                Ok(Piece::Ping) => told.push(format!("ping {}", state.control().escape_ascii())),
                Ok(Piece::Pong) => told.push("pong".to_owned()),
                Ok(Piece::Close(code)) => told.push(format!("close {code}")),
                Err(fault) => return Err((fault.code, told)),
            }
        }
        assert!(input.is_empty());
    }
    if state.is_at_rest() {
        told.push("rest".to_owned());
    }
    Ok(told)
}

#[test]
fn messages_come_out_however_their_bytes_come() {
    let long = vec![b'x'; 200];
    let said = [
        frame(0x81, b"hello"),
        frame(0x82, &long),
        frame(0x02, b"be"),
        frame(0x89, b"are you there?"),
        frame(0x00, b""),
        frame(0x8a, b""),
        frame(0x80, b"hind"),
        frame(0x01, b"\xce"),
        frame(0x80, b"\xba"),
        frame(0x82, b""),
        frame(0x88, b"\x03\xe8"),
    ]
    .concat();
    let told = [
        "text hello".to_owned(),
        format!("binary {}", "x".repeat(200)),
        "ping are you there?".to_owned(),
        "pong".to_owned(),
        "binary behind".to_owned(),
        "text \\xce\\xba".to_owned(),
        "binary ".to_owned(),
        "close 1000".to_owned(),
        "rest".to_owned(),
    ];
    assert_eq!(heard(&[&said], ALL).as_deref(), Ok(&told[..]));
    for cut in 0..=said.len() {
        let (first, second) = said.split_at(cut);
        assert_eq!(
            heard(&[first, second], ALL).as_deref(),
            Ok(&told[..]),
            "{cut}"
        );
    }
    let bytes: Vec<&[u8]> = said.chunks(1).collect();
    assert_eq!(heard(&bytes, ALL).as_deref(), Ok(&told[..]));
}

#[test]
fn a_frame_that_is_not_whole_brings_nothing() {
    let said = frame(0x82, b"hello");
    for cut in 1..said.len() {
        let told = heard(&[&said[..cut]], ALL).expect("it is right so far");
        assert_eq!(told.last().map(String::as_str), None, "{cut}");
    }
    assert_eq!(heard(&[&frame(0x02, b"begun")], ALL), Ok(Vec::new()));
}

#[test]
fn a_frame_that_no_client_may_send_is_a_fault() {
    let mut unmasked = vec![0x82, 5];
    unmasked.extend(b"hello");
    let sized = |size: &[u8]| [&[0x82][..], size, &MASK].concat();
    let two = |first: Vec<u8>, second: Vec<u8>| [first, second].concat();
    for (said, code) in [
        (unmasked, 1002),
        (frame(0xc2, b""), 1002),
        (frame(0xa2, b""), 1002),
        (frame(0x92, b""), 1002),
        (frame(0x83, b""), 1002),
        (frame(0x8b, b""), 1002),
        (frame(0x80, b"more"), 1002),
        (frame(0x09, b"half a ping"), 1002),
        (frame(0x89, &[0; 126]), 1002),
        (two(frame(0x01, b"a"), frame(0x81, b"b")), 1002),
        (two(frame(0x02, b"a"), frame(0x02, b"b")), 1002),
        (sized(&[MASKED | SIZE_16, 0, 125]), 1002),
        (
            sized(&[MASKED | SIZE_64, 0, 0, 0, 0, 0, 0, 0xff, 0xff]),
            1002,
        ),
        (sized(&[MASKED | SIZE_64, 0x80, 0, 0, 0, 0, 0, 0, 0]), 1002),
        (frame(0x81, b"\xff"), 1007),
        (frame(0x81, b"\xce"), 1007),
        (two(frame(0x01, b"\xce"), frame(0x80, b"a")), 1007),
        (frame(0x88, b"\x03"), 1002),
        (frame(0x88, b"\x03\xec"), 1002),
        (frame(0x88, b"\x03\xe8\xff"), 1007),
        (frame(0x82, &vec![0; (1 << 20) + 1]), 1009),
    ] {
        let refused = heard(&[&said], ALL).map_err(|(code, told)| (code, told.len()));
        assert_eq!(refused, Err((code, 0)), "{:?}", &said[..said.len().min(20)]);
    }
}

#[test]
fn a_message_is_refused_before_its_bytes_have_come() {
    let large = [
        &[0x82, MASKED | SIZE_64][..],
        &(1_u64 << 40).to_be_bytes(),
        &MASK,
    ]
    .concat();
    assert_eq!(heard(&[&large], ALL), Err((1009, Vec::new())));
    let parts = [frame(0x02, &vec![0; 1 << 20]), frame(0x80, b"x")].concat();
    assert_eq!(heard(&[&parts], ALL), Err((1009, Vec::new())));
}

#[test]
fn messages_of_the_other_kind_are_refused() {
    let (text, binary) = (
        Accepts {
            binary: false,
            ..ALL
        },
        Accepts { text: false, ..ALL },
    );
    assert_eq!(heard(&[&frame(0x82, b"a")], text), Err((1003, Vec::new())));
    assert_eq!(
        heard(&[&frame(0x81, b"a")], binary),
        Err((1003, Vec::new()))
    );
}
