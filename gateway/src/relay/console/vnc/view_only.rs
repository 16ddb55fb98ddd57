//! What may be sent to a console by who may only look: an allow-list of RFB's client messages (RFC 6143 section
//! 7.5, and those of extensions). Without I/O.

use crate::relay::ws::ProtocolError;

/// A message that nobody could tell the end of.
const UNKNOWN: ProtocolError =
    ProtocolError::Console("this message of RFB is not known to a console that is for viewing only");
/// More encodings than any viewer has.
const MANY_ENCODINGS: ProtocolError = ProtocolError::Console("too many encodings of RFB");
const ENCODINGS_MAX: usize = 1024;

/// Where a client is in what it sends, from ClientInit on.
#[derive(Debug, Default)]
pub struct Filter {
    /// ClientInit has come.
    begun: bool,
    /// The front of a message whose length is not known yet, or which is looked at as a whole.
    head: Vec<u8>,
    /// Bytes of the present message that are still to come, and whether they go on to the console.
    rest: usize,
    passes: bool,
}

/// What becomes of a message whose front is known.
enum Verdict {
    /// More of it has to be seen first.
    Needs,
    /// It has so many bytes, and goes on, or does not.
    Pass(usize),
    Drop(usize),
    /// SetEncodings, all of it.
    Encodings,
}

impl Filter {
    /// Takes bytes of the client, and adds to `out` what of them goes on.
    ///
    /// # Errors
    /// A message that is not known.
    pub fn take(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        if let (false, Some((shared, behind))) = (self.begun, bytes.split_first()) {
            self.begun = true;
            out.push(*shared);
            bytes = behind;
        }
        while !bytes.is_empty() {
            if self.rest > 0 {
                let (part, behind) = bytes.split_at(self.rest.min(bytes.len()));
                if self.passes {
                    out.extend(part);
                }
                self.rest -= part.len();
                bytes = behind;
                continue;
            }
            self.head.push(bytes[0]);
            bytes = &bytes[1..];
            self.judge(out)?;
        }
        Ok(())
    }

    fn judge(&mut self, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        let (len, passes) = match verdict(&self.head)? {
            Verdict::Needs => return Ok(()),
            Verdict::Pass(len) => (len, true),
            Verdict::Drop(len) => (len, false),
            Verdict::Encodings => {
                out.extend(for_viewing(&self.head));
                self.head.clear();
                return Ok(());
            }
        };
        if passes {
            out.extend(&self.head);
        }
        (self.rest, self.passes) = (len - self.head.len(), passes);
        self.head.clear();
        Ok(())
    }
}

/// What becomes of the message that begins with `head`.
fn verdict(head: &[u8]) -> Result<Verdict, ProtocolError> {
    let needs = |len: usize, then: Verdict| if head.len() < len { Verdict::Needs } else { then };
    let short =
        |at: usize| head.get(at..at + 2).map_or(0, |two| usize::from(u16::from_be_bytes([two[0], two[1]])));
    Ok(match head[0] {
        // SetPixelFormat, FramebufferUpdateRequest, EnableContinuousUpdates.
        0 => Verdict::Pass(20),
        3 | 150 => Verdict::Pass(10),
        2 if head.len() < 4 => Verdict::Needs,
        2 if short(2) > ENCODINGS_MAX => return Err(MANY_ENCODINGS),
        2 => needs(4 + 4 * short(2), Verdict::Encodings),
        // ClientFence.
        248 => needs(9, Verdict::Pass(9 + usize::from(head.get(8).copied().unwrap_or_default()))),
        // KeyEvent, PointerEvent, ClientCutText, whose length is negative where it is an extended one.
        4 => Verdict::Drop(8),
        5 => Verdict::Drop(6),
        6 => {
            let len = head.get(4..8).and_then(|len| len.first_chunk()).map(|len| i32::from_be_bytes(*len));
            needs(8, Verdict::Drop(8 + len.unwrap_or_default().unsigned_abs() as usize))
        }
        // xvp, SetDesktopSize, gii.
        250 => Verdict::Drop(4),
        251 => needs(8, Verdict::Drop(8 + 16 * usize::from(head.get(6).copied().unwrap_or_default()))),
        253 => needs(4, Verdict::Drop(4 + short(2))),
        // QEMU: a key, or sound, of which its format is longer.
        255 if head.len() < 2 => Verdict::Needs,
        255 if head[1] == 0 => Verdict::Drop(12),
        255 if head[1] == 1 => needs(4, Verdict::Drop(if short(2) == 2 { 10 } else { 4 })),
        _ => return Err(UNKNOWN),
    })
}

/// SetEncodings with what lets nobody do more than look: pictures, and of the extensions those that change how a
/// picture is told. What would begin a talk of its own (keys of QEMU, sound, clipboard, size of the desktop) is out.
fn for_viewing(message: &[u8]) -> Vec<u8> {
    let encodings = message[4..].as_chunks::<4>().0;
    let kept: Vec<_> =
        encodings.iter().filter(|encoding| is_for_viewing(i32::from_be_bytes(**encoding))).collect();
    let mut filtered = vec![2, 0];
    filtered.extend((kept.len() as u16).to_be_bytes());
    filtered.extend(kept.into_iter().flatten());
    filtered
}

fn is_for_viewing(encoding: i32) -> bool {
    match encoding {
        // Pictures (RFC 6143 section 7.7, and registered ones).
        0..=255 => true,
        // Quality and compression of JPEG; size, cursor, name; the end of an update; fences and continuous updates.
        -32..=-23 | -256..=-247 | -512..=-412 | -763..=-763 => true,
        -224 | -223 | -239 | -240 | -232 | -307 | -312 | -313 | -314 => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// What goes on of messages behind ClientInit, given in parts of `part` bytes.
    fn filtered(messages: &[u8], part: usize) -> Result<Vec<u8>, ProtocolError> {
        let (mut filter, mut out) = (Filter::default(), Vec::new());
        for part in [&[1], messages].concat().chunks(part) {
            filter.take(part, &mut out)?;
        }
        assert_eq!(out.remove(0), 1, "ClientInit");
        Ok(out)
    }

    fn check(messages: &[u8], on: &[u8]) {
        for part in [1, 2, 3, 7, 4096] {
            assert_eq!(filtered(messages, part).as_deref(), Ok(on), "{messages:?} by {part}");
        }
    }

    /// Messages that pass, and such that do not, each as long as it has to be.
    fn passing() -> Vec<Vec<u8>> {
        let message = |number: u8, len: usize| [vec![number], vec![7; len - 1]].concat();
        let fence = [&[248, 0, 0, 0, 0, 0, 0, 0, 3][..], b"abc"].concat();
        vec![message(0, 20), message(3, 10), message(150, 10), fence]
    }

    fn dropped() -> Vec<Vec<u8>> {
        let message = |head: &[u8], len: usize| [head, &vec![9; len - head.len()]].concat();
        vec![
            message(&[4], 8),
            message(&[5], 6),
            message(&[6, 0, 0, 0, 0, 0, 0, 5], 13),
            // An extended one, with four bytes.
            message(&[6, 0, 0, 0, 0xff, 0xff, 0xff, 0xfc], 12),
            message(&[250], 4),
            message(&[251, 0, 0, 1, 0, 1, 2, 0], 40),
            message(&[253, 0, 0, 3], 7),
            message(&[255, 0], 12),
            message(&[255, 1, 0, 0], 4),
            message(&[255, 1, 0, 2], 10),
        ]
    }

    #[test]
    fn what_shows_passes_and_what_acts_does_not() {
        for message in passing() {
            check(&message, &message);
        }
        for message in dropped() {
            let behind = [&message[..], &passing()[1]].concat();
            check(&behind, &passing()[1]);
        }
    }

    #[test]
    fn encodings_that_begin_more_are_taken_out() {
        // Raw, Tight, cursor; keys of QEMU, the size of the desktop, the extended clipboard.
        let offered: [i32; 6] = [0, 7, -239, -258, -308, 0xC0A1_E5CE_u32.cast_signed()];
        let message = |encodings: &[i32]| {
            let numbers = encodings.iter().flat_map(|encoding| encoding.to_be_bytes());
            [2, 0, 0, encodings.len() as u8].into_iter().chain(numbers).collect::<Vec<_>>()
        };
        check(&message(&offered), &message(&offered[..3]));
        check(&message(&[]), &message(&[]));
    }

    #[test]
    fn what_is_not_known_ends_it() {
        for number in [1, 7, 8, 249, 252, 254] {
            assert_eq!(filtered(&[number], 1), Err(UNKNOWN), "{number}");
        }
        assert_eq!(filtered(&[255, 2], 1), Err(UNKNOWN));
        assert_eq!(filtered(&[2, 0, 0xff, 0xff], 1), Err(MANY_ENCODINGS));
    }

    proptest! {
        #[test]
        fn in_any_order_and_in_any_parts(picks in vec((any::<bool>(), 0_usize..10), 0..30), part in 1_usize..64) {
            let (mut sent, mut on) = (Vec::new(), Vec::new());
            for (passes, pick) in picks {
                let all = if passes { passing() } else { dropped() };
                let message = &all[pick % all.len()];
                sent.extend(message);
                if passes {
                    on.extend(message);
                }
            }
            prop_assert_eq!(filtered(&sent, part), Ok(on));
        }

        #[test]
        fn nothing_that_acts_ever_passes(bytes in vec(any::<u8>(), 0..200), part in 1_usize..64) {
            // What went on is made of messages that may, whatever came.
            if let Ok(on) = filtered(&bytes, part) {
                prop_assert_eq!(filtered(&on, 4096), Ok(on));
            }
        }
    }
}
