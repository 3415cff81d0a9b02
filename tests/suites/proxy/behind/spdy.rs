//! The server's side of SPDY/3.1, as far as clients of Kubernetes use it: streams, data and pings. There is no flow
//! control, as they have none either.

use std::collections::HashMap;

use flate2::{Decompress, FlushDecompress};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The words of the dictionary that headers are compressed with, each with its length before it (SPDY/3, section
/// 2.6.10.1).
const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding accept-language \
    accept-ranges age allow authorization cache-control connection content-base content-encoding content-language \
    content-length content-location content-md5 content-range content-type date etag expect expires from host if-match \
    if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma \
    proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade \
    user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie \
    keep-alive origin";

/// The rest of the dictionary, after the words.
const TEXT: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 \
    Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not \
    Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov \
    Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,\
    application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,\
    utf-,*,enq=0.";

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const PING: u16 = 6;

/// The last frame of one direction of a stream.
const FIN: u8 = 1;

/// The bytes before compressed headers: zlib's two, and the dictionary's number.
const ZLIB_HEAD: usize = 6;

/// A frame from a client.
pub(super) enum Frame {
    Open {
        id: u32,
        headers: HashMap<String, String>,
    },
    Data {
        id: u32,
        bytes: Vec<u8>,
        last: bool,
    },
    /// A ping, which is sent back.
    Ping(Vec<u8>),
    Other,
}

pub(super) struct Reader<R> {
    stream: R,
    inflate: Decompress,
    begun: bool,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) fn new(stream: R) -> Self {
        // What is decompressed may refer back to the dictionary: it is put before, as a block that is not compressed.
        let dictionary = dictionary();
        let length = u16::try_from(dictionary.len()).unwrap();
        let block = [&[0][..], &length.to_le_bytes(), &(!length).to_le_bytes(), &dictionary].concat();
        let mut inflate = Decompress::new(false);
        let mut ignored = Vec::with_capacity(dictionary.len());
        inflate.decompress_vec(&block, &mut ignored, FlushDecompress::Sync).unwrap();
        assert_eq!(ignored, dictionary);
        Self { stream, inflate, begun: false }
    }

    /// Returns the next frame, or `None` at the end.
    pub(super) async fn frame(&mut self) -> Option<Frame> {
        let mut head = [0; 8];
        self.stream.read_exact(&mut head).await.ok()?;
        let word = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap());
        let (first, flags, length) = (word(0), head[4], word(4) & 0x00ff_ffff);
        let mut bytes = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut bytes).await.ok()?;
        if first & 0x8000_0000 == 0 {
            return Some(Frame::Data { id: first, bytes, last: flags & FIN != 0 });
        }
        Some(match u16::try_from(first & 0xffff).unwrap() {
            SYN_STREAM => {
                let id = u32::from_be_bytes(bytes[..4].try_into().unwrap());
                Frame::Open { id, headers: self.headers(&bytes[10..]) }
            }
            PING => Frame::Ping(control(PING, 0, &bytes)),
            _ => Frame::Other,
        })
    }

    fn headers(&mut self, compressed: &[u8]) -> HashMap<String, String> {
        let compressed = if self.begun { compressed } else { &compressed[ZLIB_HEAD..] };
        self.begun = true;
        let mut plain = Vec::with_capacity(64 << 10);
        self.inflate.decompress_vec(compressed, &mut plain, FlushDecompress::Sync).unwrap();
        let (count, mut rest) = plain.split_first_chunk::<4>().unwrap();
        let count = u32::from_be_bytes(*count);
        let mut headers = HashMap::new();
        for _ in 0..count {
            let name = text(&mut rest);
            let value = text(&mut rest);
            headers.insert(name, value);
        }
        headers
    }
}

fn text(rest: &mut &[u8]) -> String {
    let (length, after) = rest.split_first_chunk::<4>().unwrap();
    let (text, after) = after.split_at(usize::try_from(u32::from_be_bytes(*length)).unwrap());
    *rest = after;
    String::from_utf8(text.to_vec()).unwrap()
}

/// The replies to streams that a client opens. Their headers, of which there are none, are one compressed text for all.
#[derive(Default)]
pub(super) struct Replies {
    begun: bool,
}

impl Replies {
    pub(super) fn reply(&mut self, id: u32) -> Vec<u8> {
        let zlib_head: &[u8] = if self.begun { &[] } else { &[0x78, 0x01] };
        self.begun = true;
        // A block that is not compressed, with the number of headers in it, and the empty block that ends a flush.
        let none = [0, 4, 0, !4, !0, 0, 0, 0, 0, 0, 0, 0, !0, !0];
        control(SYN_REPLY, 0, &[&id.to_be_bytes()[..], zlib_head, &none].concat())
    }
}

pub(super) fn data(id: u32, bytes: &[u8], last: bool) -> Vec<u8> {
    frame(id, if last { FIN } else { 0 }, bytes)
}

fn control(kind: u16, flags: u8, bytes: &[u8]) -> Vec<u8> {
    frame(0x8003_0000 | u32::from(kind), flags, bytes)
}

fn frame(first: u32, flags: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap() | u32::from(flags) << 24;
    [&first.to_be_bytes()[..], &length.to_be_bytes(), bytes].concat()
}

fn dictionary() -> Vec<u8> {
    let word = |word: &str| {
        let word = word.replace('_', " ");
        [&u32::try_from(word.len()).unwrap().to_be_bytes()[..], word.as_bytes()].concat()
    };
    let words = WORDS.split(' ').map(word).collect::<Vec<_>>().concat();
    [words, TEXT.as_bytes().to_vec()].concat()
}
