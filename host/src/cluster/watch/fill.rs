//! Taking a whole list in, page by page.
//!
//! Each object takes the place of what the store has of it, so a store that is listed anew needs no second time its
//! size. Meanwhile it is as a watch leaves it that is behind: each object is as it was at one time, and not all at the
//! same. What has gone is taken out at the end, when it is known.

use std::sync::Arc;

use super::error::WatchError;
use super::object::{WatchedObject, check_version};
use super::retry_policy::Trouble;
use super::store::Full;
use super::upstream::{Upstream, refused};
use crate::cluster::client::Payload;
use crate::cluster::page::UncutPage;

/// Objects of a page, as kubectl and client-go ask for them.
const PAGE: u32 = 500;
/// By how much fewer are asked for where a page is too large.
const FEWER: u32 = 4;

/// What a page says besides its objects.
struct Taken {
    cursor: Option<String>,
    version: String,
}

impl Upstream {
    /// Lists the collection into the store; returns the version from which on to watch.
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
                // A server that gives the same cursor again would be asked for ever.
                Some(next) if cursor.as_ref() != Some(&next) => cursor = Some(next),
                Some(_) => return Err(Trouble::Fatal(WatchError::Unreadable("a list without an end".into()))),
                None => break page.version,
            }
        };
        self.store.end_list(&version);
        Ok(version)
    }

    /// Takes one page in.
    async fn page(&self, limit: u32, cursor: Option<&str>) -> Result<Taken, Trouble> {
        let permit = self.cluster.admitted(&self.gate, self.store.scope().page(Some(limit), cursor)?).await?;
        let (head, body) = self.cluster.send(permit, Payload::none()).await?.into_parts();
        if !head.status.is_success() {
            return Err(refused(&head, body).await);
        }
        // The place is held while the page is in memory besides what is stored, and not while a server thinks: an
        // aggregated API that hangs holds up nobody else.
        let _place = self.hub.pages().acquire().await.map_err(|_| Trouble::Fatal(WatchError::Stopped))?;
        let bytes = body.collected().await?;
        let page = UncutPage::read(&bytes)?;
        page.cut(|item| self.take_in(&Arc::new(WatchedObject::read(item)?)))?;
        self.store.tell();
        check_version(page.version())?;
        Ok(Taken { cursor: page.cursor(), version: page.version().to_owned() })
    }

    fn take_in(&self, object: &Arc<WatchedObject>) -> Result<(), Trouble> {
        while let Err(Full(wanted)) = self.store.take_in(object) {
            self.make_room(wanted)?;
        }
        Ok(())
    }
}
