//! The list of a collection, read into the store page by page.
//!
//! Each object replaces its earlier state in the store, so that a new list does not need twice the memory. Until the
//! list is whole, its objects are from different times, as after a watch that is behind. Deleted objects are removed at
//! the end, when the list is whole.

use std::sync::Arc;

use super::error::WatchError;
use super::events::refused;
use super::object::{WatchedObject, check_version};
use super::retry_policy::Trouble;
use super::store::Full;
use super::upstream::Upstream;
use crate::cluster::client::Payload;
use crate::cluster::page::UncutPage;

/// Objects of a page, as kubectl and client-go ask for them.
const PAGE: u32 = 500;
/// The divisor of the page size after a page that was too large.
const FEWER: u32 = 4;

/// A page without its objects.
struct PageHead {
    cursor: Option<String>,
    version: String,
}

impl Upstream {
    /// Lists the collection into the store. Returns the version from which to watch.
    pub(super) async fn fill(&mut self) -> Result<String, Trouble> {
        self.store.begin_list();
        let mut limit = PAGE;
        let mut cursor: Option<String> = None;
        let version = loop {
            let page = match self.page(limit, cursor.as_deref()).await {
                Err(Trouble::Fatal(WatchError::TooLarge(_))) if limit > 1 => {
                    limit = (limit / FEWER).max(1);
                    continue;
                }
                other => other?,
            };
            self.succeeded();
            match page.cursor {
                // The same cursor again would make this a list without an end.
                Some(next) if cursor.as_ref() != Some(&next) => cursor = Some(next),
                Some(_) => return Err(Trouble::Fatal(WatchError::Unreadable("a list without an end".into()))),
                None => break page.version,
            }
        };
        self.store.end_list(&version);
        Ok(version)
    }

    /// Reads one page into the store.
    async fn page(&self, limit: u32, cursor: Option<&str>) -> Result<PageHead, Trouble> {
        let permit = self.cluster.admitted(&self.gate, self.store.scope().page(Some(limit), cursor)?).await?;
        let (head, body) = self.cluster.send(permit, Payload::none()).await?.into_parts();
        if !head.status.is_success() {
            return Err(refused(&head, body).await);
        }
        // The slot is held while the page is in memory besides the store, and not while the server thinks: an
        // aggregated API that hangs delays no other store.
        let _slot = self.hub.pages().acquire().await.map_err(|_| Trouble::Fatal(WatchError::Stopped))?;
        let bytes = body.collected().await?;
        let page = UncutPage::read(&bytes)?;
        page.cut(|item| self.take_in(&Arc::new(WatchedObject::read(item)?)))?;
        self.store.wake();
        check_version(page.version())?;
        Ok(PageHead { cursor: page.cursor(), version: page.version().to_owned() })
    }

    fn take_in(&self, object: &Arc<WatchedObject>) -> Result<(), Trouble> {
        while let Err(Full(wanted)) = self.store.take_in(object) {
            self.make_room(wanted)?;
        }
        Ok(())
    }
}
