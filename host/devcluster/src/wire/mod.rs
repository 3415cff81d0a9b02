//! The forms of requests and answers: paths, notations, tables, pages, protobuf.
//!
//! | file | content |
//! | --- | --- |
//! | `request.rs` | method, path and query |
//! | `protobuf.rs` | the few bodies that kubectl sends as protobuf |
//! | `answer.rs` | status, headers, body, and the notation that a client accepts |
//! | `show.rs` | objects and lists in the representation that a client asks for |
//! | `paging.rs` | `continue` tokens |
//! | `table.rs`, `headings.rs`, `printers.rs` | tables: rows, headings, cells |

pub(crate) mod answer;
pub(crate) mod headings;
pub(crate) mod paging;
pub(crate) mod printers;
pub(crate) mod protobuf;
pub(crate) mod request;
pub(crate) mod show;
pub(crate) mod table;
