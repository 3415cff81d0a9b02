//! The forms in which requests arrive and answers leave: paths, notations, tables, pages, protobuf.

pub(crate) mod answer;
pub(crate) mod headings;
pub(crate) mod paging;
pub(crate) mod printers;
pub(crate) mod protobuf;
pub(crate) mod request;
pub(crate) mod show;
pub(crate) mod table;
