//! Lists: pages with a cursor, as iterators.

use std::marker::PhantomData;
use std::vec;

use serde::de::DeserializeOwned;

use super::Error;
use crate::bindings::attache::pod::api as wit;

/// The default of [`List::page_size`]: as many as `kubectl` requests, which keeps both the number of requests and the
/// memory for one page small.
const DEFAULT_PAGE_SIZE: u32 = 500;

/// A list of objects before its first request; made by [`Collection::list`](super::Collection::list).
///
/// ```no_run
/// use attache_guest::api::{Collection, Error, ResourceType};
/// use serde_json::Value;
///
/// fn failed(namespace: &str) -> Result<Vec<Value>, Error> {
///     let pods = Collection::namespaced(&ResourceType::core("v1", "pods"), namespace)?;
///     pods.list().labels("app in (web, api)").fields("status.phase=Failed").items().collect()
/// }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a list asks for nothing before `items` or `pages` is iterated"]
pub struct List<'a> {
    from: &'a wit::Collection,
    selector: wit::Selector,
    page_size: u32,
}

impl<'a> List<'a> {
    pub(super) fn of(from: &'a wit::Collection) -> Self {
        let selector = wit::Selector { labels: String::new(), fields: String::new() };
        Self { from, selector, page_size: DEFAULT_PAGE_SIZE }
    }

    /// Sets the label selector, in the syntax of `kubectl --selector`, such as `app=web,tier in (a, b)`.
    pub fn labels(mut self, selector: impl Into<String>) -> Self {
        self.selector.labels = selector.into();
        self
    }

    /// Sets the field selector, in the syntax of `kubectl --field-selector`, such as `status.phase=Running`.
    pub fn fields(mut self, selector: impl Into<String>) -> Self {
        self.selector.fields = selector.into();
        self
    }

    /// Sets the number of objects in each page: 500 by default, which is also the maximum. A page may contain fewer.
    pub fn page_size(mut self, objects: u32) -> Self {
        self.page_size = objects;
        self
    }

    /// Returns an iterator over the objects, which holds one page in memory at a time.
    ///
    /// An object that does not deserialise to `T` is an error in its place, and the iterator continues. If a request
    /// fails, the error is the last item.
    pub fn items<T: DeserializeOwned>(self) -> Items<'a, T> {
        let source = Source::Start(self);
        Items { source, page: Vec::new().into_iter(), of: PhantomData }
    }

    /// Returns an iterator over the pages. If a request fails, or a page does not deserialise, the error is the last
    /// item.
    ///
    /// ```no_run
    /// # use attache_guest::api::{Collection, Error, ResourceType};
    /// # use serde_json::Value;
    /// # fn main() -> Result<(), Error> {
    /// let events = Collection::all(&ResourceType::new("events.k8s.io", "v1", "events"))?;
    /// for page in events.list().page_size(100).pages::<Value>() {
    ///     let page = page?;
    ///     println!("{} here, {:?} to come", page.items.len(), page.remaining);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn pages<T: DeserializeOwned>(self) -> Pages<'a, T> {
        Pages { source: Source::Start(self), of: PhantomData }
    }

    fn read(&self, cursor: Option<&str>) -> Result<wit::Page, Error> {
        Ok(self.from.list(&self.selector, self.page_size, cursor)?)
    }
}

/// The position in a list.
#[derive(Debug)]
enum Source<'a> {
    Start(List<'a>),
    After(List<'a>, String),
    End,
}

impl Source<'_> {
    /// Requests the next page; after an error there is none.
    fn next(&mut self) -> Option<Result<wit::Page, Error>> {
        let (list, cursor) = match std::mem::replace(self, Self::End) {
            Self::Start(list) => (list, None),
            Self::After(list, cursor) => (list, Some(cursor)),
            Self::End => return None,
        };
        let mut page = match list.read(cursor.as_deref()) {
            Ok(page) => page,
            Err(error) => return Some(Err(error)),
        };
        if let Some(cursor) = page.cursor.take() {
            *self = Self::After(list, cursor);
        }
        Some(Ok(page))
    }
}

/// One page of a list; made by [`List::pages`] and [`Watch::list`](super::Watch::list).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The objects of the page.
    pub items: Vec<T>,
    /// The number of objects after this page, if the API server reports it.
    pub remaining: Option<u64>,
    /// The `resourceVersion` of the list.
    pub resource_version: String,
}

impl<T: DeserializeOwned> TryFrom<wit::Page> for Page<T> {
    type Error = Error;

    fn try_from(page: wit::Page) -> Result<Self, Error> {
        let read = |json: &Vec<u8>| serde_json::from_slice(json);
        Ok(Self {
            items: page.items.iter().map(read).collect::<Result<_, _>>()?,
            remaining: page.remaining,
            resource_version: page.resource_version,
        })
    }
}

/// An iterator over the pages of a list; made by [`List::pages`].
#[derive(Debug)]
pub struct Pages<'a, T> {
    source: Source<'a>,
    of: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Iterator for Pages<'_, T> {
    type Item = Result<Page<T>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let page = self.source.next()?.and_then(Page::try_from);
        if page.is_err() {
            self.source = Source::End;
        }
        Some(page)
    }
}

/// An iterator over the objects of a list; made by [`List::items`].
#[derive(Debug)]
pub struct Items<'a, T> {
    source: Source<'a>,
    page: vec::IntoIter<Vec<u8>>,
    of: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Iterator for Items<'_, T> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(json) = self.page.next() {
                return Some(serde_json::from_slice(&json).map_err(Error::from));
            }
            match self.source.next()? {
                Ok(page) => self.page = page.items.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
