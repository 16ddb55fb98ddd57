//! For viewers behind TLS: no record holds more than one of a server's messages, or the end of one.
//!
//! spice-gtk (0.42) asks the socket whether there is more to handle, and not what TLS has opened already: what
//! stands behind a message in the same record waits until more comes, which may be never. A server that ends TLS
//! itself writes message by message; a relay that copies what comes has to do the same.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::link::{MINI_HEADER, Reply};

/// Bytes of a message's header, long and mini.
pub(super) const HEADERS: [usize; 2] = [18, 6];

/// Where in what a server says something stands.
#[derive(Clone, Debug)]
pub struct Place(Step);

#[derive(Clone, Debug)]
enum Step {
    /// In its link message, of which this was said.
    Reply(Vec<u8>),
    /// So many bytes before the end of what it says about the link; which header the messages behind have.
    Result(usize, usize),
    /// In a header of this length, of which this was said.
    Header(usize, Vec<u8>),
    /// So many bytes before the end of a message; which header those behind have.
    Body(usize, usize),
    /// In something else, which is of no parts.
    Unknown,
}

impl Place {
    /// Before its first word.
    pub const fn first() -> Self {
        Self(Step::Reply(Vec::new()))
    }

    /// Before what it says about the link; `mini` are the headers of the messages behind.
    pub const fn result(mini: bool) -> Self {
        Self(Step::Result(4, HEADERS[mini as usize]))
    }

    /// Goes on by what of `bytes` belongs together at most, and returns how much that is: none only of none.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        match &mut self.0 {
            Step::Reply(said) => {
                let known = said.len();
                said.extend(bytes);
                match Reply::parse(said) {
                    Ok(None) => bytes.len(),
                    Ok(Some((len, reply))) => {
                        // A client that encrypts is younger than these headers, and names them.
                        *self = Self::result(reply.can(MINI_HEADER));
                        len - known
                    }
                    Err(_) => {
                        self.0 = Step::Unknown;
                        bytes.len()
                    }
                }
            }
            &mut (Step::Result(left, header) | Step::Body(left, header)) => {
                let len = left.min(bytes.len());
                self.0 = if len == left {
                    Step::Header(header, Vec::new())
                } else {
                    Step::Body(left - len, header)
                };
                len
            }
            Step::Header(header, said) => {
                let header = *header;
                let len = (header - said.len()).min(bytes.len());
                said.extend(&bytes[..len]);
                // The long one has a number in front, and a list behind (`SpiceDataHeader`).
                let size_at = if header == HEADERS[1] { 2 } else { 10 };
                if said.len() < header {
                    return len;
                }
                let size = said[size_at..].first_chunk().map_or(0, |size| u32::from_le_bytes(*size));
                if size == 0 {
                    said.clear();
                    return len;
                }
                self.0 = Step::Body(size as usize, header);
                len + self.pass(&bytes[len..])
            }
            Step::Unknown => bytes.len(),
        }
    }
}

/// A client that is written to piece by piece.
pub struct Pieces<C> {
    client: C,
    place: Place,
}

impl<C> Pieces<C> {
    /// What is written next stands at `place`.
    pub const fn new(client: C, place: Place) -> Self {
        Self { client, place }
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Pieces<C> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().client).poll_read(cx, room)
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Pieces<C> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { client, place } = self.get_mut();
        let mut behind = place.clone();
        let len = behind.pass(bytes);
        let written = ready!(Pin::new(client).poll_write(cx, &bytes[..len]))?;
        if written == len {
            *place = behind;
        } else {
            place.pass(&bytes[..written]);
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().client).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().client).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;

    use super::super::link::KEY_LEN;
    use super::*;

    /// Takes at most so much at once, and keeps what it was given apart.
    struct Client {
        at_once: usize,
        given: Vec<Vec<u8>>,
    }

    impl AsyncWrite for Client {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let len = bytes.len().min(self.at_once);
            self.get_mut().given.push(bytes[..len].to_vec());
            Poll::Ready(Ok(len))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// All that a server says, each of it apart: its link message, its word about the link, and messages of these
    /// sizes.
    fn said(mini: bool, sizes: &[u16]) -> Vec<Vec<u8>> {
        let common = if mini { vec![1 << MINI_HEADER] } else { Vec::new() };
        let reply = Reply { error: 0, key: [7; KEY_LEN], common, channel: vec![5] };
        let message = |(nth, size): (usize, &u16)| {
            let (number, size) = (nth as u64 + 1, u32::from(*size));
            let header = match mini {
                true => [&[103, 0][..], &size.to_le_bytes()].concat(),
                false => [&number.to_le_bytes()[..], &[103, 0], &size.to_le_bytes(), &[0; 4]].concat(),
            };
            [header, vec![nth as u8; size as usize]].concat()
        };
        let messages = sizes.iter().enumerate().map(message);
        [reply.encode(), vec![0; 4]].into_iter().chain(messages).collect()
    }

    /// What the client was given when `all` was written in parts of `part` bytes.
    fn write(place: Place, all: &[u8], part: usize, at_once: usize) -> Vec<Vec<u8>> {
        let mut pieces = Pieces::new(Client { at_once, given: Vec::new() }, place);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            for part in all.chunks(part) {
                pieces.write_all(part).await.expect("writes");
            }
        });
        pieces.client.given
    }

    proptest! {
        #[test]
        fn no_write_goes_beyond_a_message(
            mini: bool, sizes in vec(0_u16..700, 0..8), part in 1_usize..3000, at_once in 1_usize..3000,
            from_result: bool,
        ) {
            let mut messages = said(mini, &sizes);
            let mut place = Place::first();
            if from_result {
                messages.remove(0);
                place = Place::result(mini);
            }
            let all = messages.concat();
            let given = write(place, &all, part, at_once);
            prop_assert_eq!(given.concat(), all);
            let ends: Vec<_> = messages
                .iter()
                .scan(0, |end, message| {
                    *end += message.len();
                    Some(*end)
                })
                .collect();
            let mut from = 0;
            for piece in given {
                let to = from + piece.len();
                prop_assert!(!ends.iter().any(|end| (from + 1..to).contains(end)), "{from}..{to} of {ends:?}");
                from = to;
            }
        }

        #[test]
        fn anything_goes_through_as_it_is(all in vec(any::<u8>(), 1..2000), part in 1_usize..2000) {
            for place in [Place::first(), Place::result(true), Place::result(false)] {
                prop_assert_eq!(write(place, &all, part, 1000).concat(), all.clone());
            }
        }
    }

    #[test]
    fn what_is_no_spice_is_in_no_pieces() {
        let all = [7; 5000];
        assert_eq!(write(Place::first(), &all, 5000, 5000), [all.to_vec()]);
    }

    #[test]
    fn messages_that_come_together_go_apart() {
        let messages = said(true, &[9, 0, 256, 3]);
        let all = messages.concat();
        assert_eq!(write(Place::first(), &all, all.len(), all.len()), messages);
    }
}
