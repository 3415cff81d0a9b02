//! The boundaries of the requests on a connection.
//!
//! Threat: a target whose end is lost before it is judged, because the parser of URIs cuts it off at a `#`. The request
//! would be answered for another target than was sent. So a connection is read message by message. Nothing behind a
//! head is forwarded before the parser of HTTP has returned the length of the body. So every request line is
//! recognised, wherever it stands. A body of unknown length is the last of its connection.

/// The most bytes of a head that are read at a time. The bytes behind the head are kept until the parser asks for them.
const PIECE: usize = 4 << 10;

/// A mark in the extensions of an HTTP/1.1 request whose target had a fragment, which the reader of HTTP has cut off.
///
/// A handler that judges targets must refuse such a request: the target that it sees is not the one that was sent.
#[derive(Clone, Copy, Debug)]
pub struct HadFragment;

/// The position in the bytes of a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Framing {
    at: At,
    /// The line of this request holds a `#`.
    fragment: bool,
}

#[derive(Clone, Copy, Debug)]
enum At {
    Head(Line),
    /// Behind a head whose body has no known length yet.
    HeadEnd,
    /// This number of bytes before the end of a body.
    Body(u64),
    /// In a body that ends with its connection.
    LastBody,
}

/// The position in a head.
#[derive(Clone, Copy, Debug)]
enum Line {
    /// In the empty lines that may precede it.
    Before,
    Request,
    /// At the beginning of a line.
    Start,
    /// Behind a carriage return at the beginning of a line.
    Return,
    Field,
}

impl Framing {
    pub(super) fn new() -> Self {
        Self { at: At::Head(Line::Before), fragment: false }
    }

    /// Returns the largest number of bytes that may be read next, up to `room`. It is 0 while the body has no known
    /// length.
    pub(super) fn limit(&self, room: usize) -> usize {
        match self.at {
            At::Head(_) => room.min(PIECE),
            At::HeadEnd => 0,
            At::Body(left) => usize::try_from(left).unwrap_or(usize::MAX).min(room),
            At::LastBody => room,
        }
    }

    pub(super) fn is_in_head(&self) -> bool {
        matches!(self.at, At::Head(_) | At::HeadEnd)
    }

    /// Reads on. Returns the number of bytes that belong to this head or body.
    pub(super) fn read(&mut self, bytes: &[u8]) -> usize {
        match self.at {
            At::Head(line) => self.read_head(line, bytes),
            At::HeadEnd => 0,
            At::Body(left) => {
                let taken = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                self.at = Self::in_body(left.saturating_sub(u64::try_from(taken).unwrap_or(u64::MAX)));
                taken
            }
            At::LastBody => bytes.len(),
        }
    }

    fn read_head(&mut self, mut line: Line, bytes: &[u8]) -> usize {
        for (index, byte) in bytes.iter().enumerate() {
            line = match (line, byte) {
                (Line::Before, b'\r' | b'\n') => Line::Before,
                (Line::Start | Line::Return, b'\n') => {
                    self.at = At::HeadEnd;
                    return index.saturating_add(1);
                }
                (Line::Request | Line::Field, b'\n') => Line::Start,
                (Line::Start, b'\r') => Line::Return,
                (Line::Before | Line::Request, byte) => {
                    self.fragment |= *byte == b'#';
                    Line::Request
                }
                (Line::Start | Line::Return | Line::Field, _) => Line::Field,
            };
        }
        self.at = At::Head(line);
        bytes.len()
    }

    fn in_body(left: u64) -> At {
        if left == 0 { At::Head(Line::Before) } else { At::Body(left) }
    }

    /// Goes on behind a head, with the length of its body where that is known. Returns whether the request line may
    /// have had a fragment: there was one, or the line was never seen.
    pub(super) fn head_is_read(&mut self, body: Option<u64>) -> bool {
        let unseen = !matches!(self.at, At::HeadEnd);
        let at = if unseen { At::LastBody } else { body.map_or(At::LastBody, Self::in_body) };
        let had = std::mem::replace(self, Self { at, fragment: false });
        had.fragment || unseen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the pieces in which a stream is forwarded, when the bodies behind its heads have these lengths.
    fn pieces<'a>(stream: &'a str, bodies: &[Option<u64>]) -> Vec<(&'a str, bool)> {
        let (mut framing, mut rest, mut bodies) = (Framing::new(), stream, bodies.iter());
        let mut found = Vec::new();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(framing.read(rest.as_bytes()));
            let ended = framing.limit(1) == 0;
            found.push((piece, ended && framing.head_is_read(bodies.next().copied().flatten())));
            rest = after;
        }
        found
    }

    #[test]
    fn each_request_line_is_found_wherever_it_stands() {
        let (post, body, get) = ("POST /a HTTP/1.1\r\nA: #\r\n\r\n", "{}#", "\r\nGET /b#c HTTP/1.1\n\n");
        let stream = [post, body, get, get, post, "x#"].concat();
        let bodies = [Some(3), Some(0), Some(0), None];
        let expected = [(post, false), (body, false), (get, true), (get, true), (post, false), ("x#", false)];
        assert_eq!(pieces(&stream, &bodies), expected);
    }

    #[test]
    fn a_head_ends_at_its_first_empty_line_however_it_comes() {
        for head in ["GET / HTTP/1.1\r\nA: b\r\n\r\n", "GET / HTTP/1.1\n\n", "GET /# HTTP/1.1\r\n\n", "\n\r\nG #\n\r\n"]
        {
            let mut framing = Framing::new();
            let ended = head.bytes().filter(|byte| framing.read(&[*byte]) == 1 && framing.limit(1) == 0).count();
            assert_eq!((ended, framing.read(b"x")), (1, 0), "{head:?}");
            assert_eq!(framing.head_is_read(Some(0)), head.contains('#'), "{head:?}");
        }
    }

    #[test]
    fn a_head_that_was_never_seen_whole_may_hold_a_fragment() {
        let mut framing = Framing::new();
        assert!(framing.head_is_read(Some(0)));
        framing = Framing::new();
        framing.read(b"POST / HTTP/1.1\r\n\r\n");
        assert!(!framing.head_is_read(None) && framing.head_is_read(None), "nothing comes after a last body");
    }
}
