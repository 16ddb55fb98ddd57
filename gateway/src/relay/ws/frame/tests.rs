//! Properties of the decoder: what is written reads back, however it is split; what RFC 6455
//! forbids is refused with the right code.

use proptest::prelude::*;

use super::*;

/// A client's frame as it goes over the wire.
#[derive(Clone, Debug)]
struct Frame {
    first: u8,
    key: Option<[u8; 4]>,
    payload: Vec<u8>,
}

fn frame(fin: bool, opcode: Opcode, payload: &[u8]) -> Frame {
    let fin = if fin { FIN } else { 0 };
    Frame { first: fin | opcode as u8, key: Some([0x37, 0xfa, 0x21, 0x3d]), payload: payload.to_vec() }
}

impl Frame {
    fn write(&self, out: &mut Vec<u8>) {
        let mut room = [0; SERVER_HEADER_LEN];
        let start = put_header(&mut room, Opcode::Binary, self.payload.len());
        room[start] = self.first;
        room[start + 1] |= if self.key.is_some() { MASKED } else { 0 };
        out.extend(&room[start..]);
        out.extend(self.key.iter().flatten());
        let from = out.len();
        out.extend(&self.payload);
        mask::apply(&mut out[from..], self.key.unwrap_or_default());
    }
}

fn bytes(frames: &[Frame]) -> Vec<u8> {
    let mut out = Vec::new();
    frames.iter().for_each(|frame| frame.write(&mut out));
    out
}

/// What a stream means, whatever the parts it came in: messages joined, controls in order.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    Message(Kind, Vec<u8>),
    Control(Piece),
}

fn decode(wire: &[u8], cuts: &[usize]) -> Result<Vec<Meaning>, ProtocolError> {
    let mut decoder = Decoder::default();
    let mut meanings = Vec::new();
    let mut message = Vec::new();
    let mut from = 0;
    for to in cuts.iter().copied().chain([wire.len()]) {
        let mut part = wire[from..to].to_vec();
        let mut at = 0;
        while let Some((used, piece)) = decoder.next(&mut part[at..])? {
            match piece {
                Piece::Data { payload, kind, last } => {
                    message.extend(&part[at..][payload]);
                    if last {
                        meanings.push(Meaning::Message(kind, std::mem::take(&mut message)));
                    }
                }
                control => meanings.push(Meaning::Control(control)),
            }
            at += used;
        }
        from = to;
    }
    assert!(decoder.is_between_frames(), "the stream was whole");
    Ok(meanings)
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    // Lengths around each border of the three header forms.
    prop_oneof![
        Just(0_usize),
        0..200_usize,
        Just(125),
        Just(126),
        Just(65_535),
        Just(65_536),
        60_000..70_000_usize
    ]
    .prop_flat_map(|len| any::<u8>().prop_map(move |seed| (0..len).map(|i| seed ^ i as u8).collect()))
}

fn control_payload() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..=CONTROL_MAX)
}

/// A binary message of one to three fragments, with pings and pongs between them.
fn message() -> impl Strategy<Value = (Vec<Frame>, Vec<Meaning>)> {
    (
        prop::collection::vec((payload(), any::<[u8; 4]>()), 1..4),
        prop::option::of((any::<bool>(), control_payload())),
    )
        .prop_map(|(fragments, between)| {
            let mut frames = Vec::new();
            let mut meanings = Vec::new();
            let mut whole = Vec::new();
            let count = fragments.len();
            for (index, (payload, key)) in fragments.into_iter().enumerate() {
                let opcode = if index == 0 { Opcode::Binary } else { Opcode::Continuation };
                whole.extend(&payload);
                frames.push(Frame { key: Some(key), ..frame(index + 1 == count, opcode, &payload) });
                if let (0, Some((ping, payload))) = (index, &between) {
                    let mut control = Control::default();
                    control.extend(payload);
                    frames.push(frame(true, if *ping { Opcode::Ping } else { Opcode::Pong }, payload));
                    let piece = if *ping { Piece::Ping(control) } else { Piece::Pong(control) };
                    meanings.push(Meaning::Control(piece));
                }
            }
            // A control behind the last fragment comes after the message, between fragments before.
            let at = if count == 1 { 0 } else { meanings.len() };
            meanings.insert(at, Meaning::Message(Kind::Binary, whole));
            (frames, meanings)
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn split_anywhere_equals_whole(
        messages in prop::collection::vec(message(), 1..4),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let (frames, meanings): (Vec<_>, Vec<_>) = messages.into_iter().unzip();
        let wire = bytes(&frames.concat());
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).collect();
        cuts.sort_unstable();
        let meanings: Vec<Meaning> = meanings.into_iter().flatten().collect();
        let (whole, parts) = (decode(&wire, &[]), decode(&wire, &cuts));
        prop_assert_eq!(whole.as_ref(), Ok(&meanings));
        prop_assert_eq!(parts.as_ref(), Ok(&meanings));
    }

    #[test]
    fn any_bytes_are_taken_or_refused(wire: Vec<u8>, cut: prop::sample::Index) {
        let mut decoder = Decoder::default();
        let (head, tail) = wire.split_at(cut.index(wire.len() + 1));
        for part in [head, tail] {
            let mut part = part.to_vec();
            let mut at = 0;
            while let Ok(Some((used, _))) = decoder.next(&mut part[at..]) {
                prop_assert!(used > 0 || at < part.len());
                at += used;
            }
        }
    }

    #[test]
    fn a_header_of_ours_reads_back(len in prop_oneof![0..300_usize, 65_000..66_000_usize, any::<u32>().prop_map(|l| l as usize)]) {
        let mut room = [0xaa; SERVER_HEADER_LEN + 3];
        let start = put_header(&mut room, Opcode::Binary, len);
        let mut masked = room[start..].to_vec();
        masked[1] |= MASKED;
        masked.extend([0; 4]);
        prop_assert_eq!(header_len(&masked), masked.len());
        let header = Header::parse(&masked).expect("a header");
        prop_assert_eq!((header.len, header.fin, header.opcode), (len as u64, true, Opcode::Binary));
    }
}

#[test]
fn split_at_every_byte_equals_whole() {
    let wire = bytes(&[
        frame(false, Opcode::Text, "h€".as_bytes()),
        frame(true, Opcode::Ping, b"still there?"),
        frame(true, Opcode::Continuation, "llo 😀".as_bytes()),
        frame(true, Opcode::Binary, &[]),
        frame(true, Opcode::Binary, &[7; 300]),
        frame(true, Opcode::Close, &[3, 232]),
    ]);
    let whole = decode(&wire, &[]).expect("a good stream");
    assert_eq!(whole.len(), 5);
    assert_eq!(whole[1], Meaning::Message(Kind::Text, "h€llo 😀".into()));
    for first in 0..=wire.len() {
        for second in first..=wire.len() {
            assert_eq!(decode(&wire, &[first, second]).as_ref(), Ok(&whole), "{first} {second}");
        }
    }
}

fn refused(frames: &[Frame], error: ProtocolError, code: u16) {
    assert_eq!(decode(&bytes(frames), &[]), Err(error));
    assert_eq!(error.close_code(), CloseCode(code));
}

#[test]
fn reserved_bits_are_refused() {
    for bit in [0x40, 0x20, 0x10] {
        let good = frame(true, Opcode::Binary, b"x");
        refused(&[Frame { first: good.first | bit, ..good }], ProtocolError::ReservedBit, 1002);
    }
}

#[test]
fn unknown_opcodes_are_refused() {
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        let good = frame(true, Opcode::Binary, b"x");
        refused(&[Frame { first: FIN | opcode, ..good }], ProtocolError::Opcode(opcode), 1002);
    }
}

#[test]
fn a_client_masks() {
    refused(&[Frame { key: None, ..frame(true, Opcode::Binary, b"x") }], ProtocolError::Unmasked, 1002);
    refused(&[Frame { key: None, ..frame(true, Opcode::Binary, &[]) }], ProtocolError::Unmasked, 1002);
}

#[test]
fn control_frames_are_whole_and_short() {
    for opcode in [Opcode::Ping, Opcode::Pong, Opcode::Close] {
        refused(&[frame(false, opcode, b"x")], ProtocolError::Control, 1002);
        refused(&[frame(true, opcode, &[0; 126])], ProtocolError::Control, 1002);
    }
}

#[test]
fn fragments_are_in_order() {
    refused(&[frame(true, Opcode::Continuation, b"x")], ProtocolError::Fragments, 1002);
    refused(
        &[frame(false, Opcode::Binary, b"x"), frame(true, Opcode::Binary, b"y")],
        ProtocolError::Fragments,
        1002,
    );
    refused(
        &[frame(false, Opcode::Text, b"x"), frame(true, Opcode::Text, b"y")],
        ProtocolError::Fragments,
        1002,
    );
}

#[test]
fn text_is_utf8() {
    refused(&[frame(true, Opcode::Text, &[0xff])], ProtocolError::NotUtf8, 1007);
    refused(&[frame(true, Opcode::Text, &[0xe2, 0x82])], ProtocolError::NotUtf8, 1007);
    refused(&[frame(true, Opcode::Close, &[3, 232, 0xff])], ProtocolError::NotUtf8, 1007);
    let halves = [frame(false, Opcode::Text, &[0xe2]), frame(true, Opcode::Continuation, &[0x82, 0xac])];
    assert_eq!(decode(&bytes(&halves), &[]), Ok(vec![Meaning::Message(Kind::Text, "€".into())]));
}

#[test]
fn lengths_take_no_more_bytes_than_they_need() {
    let long = |bytes: &[u8]| {
        let mut wire = bytes.to_vec();
        wire.extend([0; 4]);
        decode(&wire, &[])
    };
    assert_eq!(long(&[0x82, 0xfe, 0, 125]), Err(ProtocolError::Length));
    assert_eq!(long(&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff]), Err(ProtocolError::Length));
    assert_eq!(long(&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]), Err(ProtocolError::Length));
}

#[test]
fn a_huge_frame_passes_piece_by_piece() {
    let mut decoder = Decoder::default();
    let mut header = [0x82, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(decoder.next(&mut header), Ok(None));
    for _ in 0..100 {
        let mut part = [9; 1000];
        let expected = Piece::Data { payload: 0..1000, kind: Kind::Binary, last: false };
        assert_eq!(decoder.next(&mut part), Ok(Some((1000, expected))));
    }
    assert!(!decoder.is_between_frames());
}

#[test]
fn nothing_is_read_behind_a_close() {
    let wire = bytes(&[frame(true, Opcode::Close, &[]), frame(true, Opcode::Ping, b"late")]);
    assert_eq!(decode(&wire, &[]), Ok(vec![Meaning::Control(Piece::Close(None))]));
}
