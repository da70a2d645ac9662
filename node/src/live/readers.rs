//! Who of those who follow a room reads which language.
//!
//! They are kept apart from the lanes, so that a translation costs as much as it has readers, and each keeps its place, so
//! that they can be told a part at a time while others come and go.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use super::link::Sub;
use crate::translation::Lang;

/// See the module's text. Under the room's lock.
#[derive(Debug, Default)]
pub(super) struct Readers {
    by_language: BTreeMap<Lang, Places>,
}

/// A place that somebody has left is somebody else's later; nobody moves.
#[derive(Debug, Default)]
struct Places {
    subs: Vec<Option<Arc<Sub>>>,
    free: Vec<usize>,
}

impl Readers {
    /// Whether nobody reads a translation.
    pub(super) fn is_empty(&self) -> bool {
        self.by_language.is_empty()
    }

    /// `sub` reads translations into `language` from now on.
    pub(super) fn add(&mut self, language: Lang, sub: &Arc<Sub>) {
        let places = self.by_language.entry(language).or_default();
        let place = places.free.pop().unwrap_or_else(|| {
            places.subs.push(None);
            places.subs.len() - 1
        });
        places.subs[place] = Some(sub.clone());
        *sub.reading.lock() = Some((language, place));
    }

    /// `sub` reads none any more.
    pub(super) fn remove(&mut self, sub: &Sub) {
        let Some((language, place)) = sub.reading.lock().take() else { return };
        let Some(places) = self.by_language.get_mut(&language) else { return };
        places.subs[place] = None;
        places.free.push(place);
        if places.free.len() == places.subs.len() {
            self.by_language.remove(&language);
        }
    }

    /// The languages that are read; of many, the `most` that most read.
    pub(super) fn languages(&self, most: usize) -> Vec<Lang> {
        let mut all: Vec<_> = self.by_language.keys().copied().collect();
        if all.len() > most {
            all.sort_by_key(|language| Reverse(self.count(*language)));
            all.truncate(most);
        }
        all
    }

    fn count(&self, language: Lang) -> usize {
        self.by_language.get(&language).map_or(0, |places| places.subs.len() - places.free.len())
    }

    /// Who has a place, if somebody does; `None`: there are no further places.
    pub(super) fn at(&self, language: Lang, place: usize) -> Option<Option<&Arc<Sub>>> {
        Some(self.by_language.get(&language)?.subs.get(place)?.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use rookery_protocol::Subprotocol;

    use super::*;
    use crate::live::link::Link;

    #[test]
    fn everybody_keeps_his_place_while_others_come_and_go() {
        let lang = |tag| Lang::parse(tag).unwrap();
        let sub = || Arc::new(Sub::new(Link::new(Subprotocol::Json, 0, u64::MAX), 0, 0));
        let subs: Vec<_> = (0..4).map(|_| sub()).collect();
        let mut readers = Readers::default();
        for sub in &subs[..3] {
            readers.add(lang("es"), sub);
        }
        readers.add(lang("pt"), &subs[3]);
        assert_eq!(readers.languages(64), [lang("es"), lang("pt")]);
        assert_eq!(readers.languages(1), [lang("es")]);
        let is = |readers: &Readers, place, of: Option<&Arc<Sub>>| {
            let found = readers.at(lang("es"), place).unwrap();
            assert!(found.map(Arc::as_ptr) == of.map(Arc::as_ptr), "{place}: {found:?}");
        };
        readers.remove(&subs[0]);
        is(&readers, 0, None);
        is(&readers, 2, Some(&subs[2]));
        // Another language now; and his place is the next one's.
        readers.remove(&subs[3]);
        readers.add(lang("es"), &subs[3]);
        is(&readers, 0, Some(&subs[3]));
        assert_eq!(readers.languages(64), [lang("es")]);
        for sub in &subs {
            readers.remove(sub);
            readers.remove(sub);
        }
        assert!(readers.is_empty() && readers.at(lang("es"), 0).is_none());
    }
}
