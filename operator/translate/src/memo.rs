//! Pure results that outlive a translation: the one mechanism by which an edit costs what it changes.
//!
//! A result stands for a name (an object's key, mostly). It follows from a subject, which is compared, and from what
//! was looked at through a [`View`] while it was found. It is found anew where the subject is another, or where
//! something that was looked at has changed; otherwise the one before is taken, and with it the allocations that whoever
//! comes later recognises.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use crate::view::{Changed, Mark, Need, View};

/// An object as a subject: objects are never changed, only replaced, so the same allocation has the same content. The
/// allocation is kept, so that no other object can take its place.
pub(crate) struct Same<T>(pub(crate) Arc<T>);

impl<T> Same<T> {
    pub(crate) fn of(object: &Arc<T>) -> Self {
        Self(Arc::clone(object))
    }
}

impl<T> PartialEq for Same<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> fmt::Debug for Same<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Some objects are secret.
        f.write_str("Same")
    }
}

/// Results by name, in the order of the names.
#[derive(Debug)]
pub(crate) struct Memo<N, S, T> {
    results: Vec<Found<N, S, T>>,
}

/// One result.
#[derive(Debug)]
pub(crate) struct Found<N, S, T> {
    pub(crate) name: N,
    subject: S,
    reads: Box<[Mark]>,
    /// What it needs to be there beside it.
    pub(crate) needs: Box<[Need]>,
    pub(crate) value: T,
}

impl<N, S, T> Default for Memo<N, S, T> {
    fn default() -> Self {
        Self { results: Vec::new() }
    }
}

impl<N: Clone + Ord, S: PartialEq, T> Memo<N, S, T> {
    /// Brings the results in step with the subjects, which come in the order of their names, each once.
    pub(crate) fn follow<'n>(
        &mut self,
        subjects: impl IntoIterator<Item = (&'n N, S)>,
        changed: &Changed,
        view: &View<'_>,
        mut find: impl FnMut(&N, &S) -> T,
    ) where
        N: 'n,
    {
        let mut before = std::mem::take(&mut self.results).into_iter().peekable();
        self.results.reserve(before.len());
        for (name, subject) in subjects {
            while before.next_if(|found| found.name.cmp(name) == Ordering::Less).is_some() {}
            let known = before.next_if(|found| found.name == *name);
            let known = known.filter(|found| found.subject == subject && !changed.touches(&found.reads));
            let found = known.unwrap_or_else(|| {
                let value = find(name, &subject);
                let (reads, needs) = view.take();
                Found { name: name.clone(), subject, reads, needs, value }
            });
            self.results.push(found);
        }
    }

    /// All results.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Found<N, S, T>> {
        self.results.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Index;
    use crate::inputs::{Inputs, ObjectKey};
    use crate::view::Table;

    /// The subjects of a world with their names, and the names whose Services differ from those of the world before.
    type World<'w> = (&'w [(u8, char)], &'w [u8]);

    /// Follows worlds, where a result looks at the Service of its name, and compares the names that
    /// had to be found in each.
    #[track_caller]
    fn check(worlds: &[World<'_>], expected: &[&[u8]]) {
        let (inputs, index) = (Inputs::default(), Index::default());
        let view = View::new(&inputs, &index);
        let key = |name: u8| ObjectKey::new("", name.to_string());
        let mut memo = Memo::default();
        let mut found: Vec<Vec<u8>> = Vec::new();
        for (subjects, touched) in worlds {
            let mut changed = Changed::default();
            touched.iter().for_each(|name| changed.add(Table::Service, &key(*name)));
            let mut now = Vec::new();
            memo.follow(subjects.iter().map(|(name, subject)| (name, *subject)), &changed, &view, |name, subject| {
                view.service(&key(*name));
                now.push(*name);
                (*name, *subject)
            });
            found.push(now);
            let results: Vec<_> = memo.iter().map(|found| found.value).collect();
            assert_eq!(results, *subjects, "the results belong to the subjects");
        }
        assert_eq!(found, expected);
    }

    #[test]
    fn a_result_is_found_once_while_its_subject_stays() {
        check(&[(&[(1, 'a'), (2, 'b')], &[]), (&[(1, 'a'), (2, 'b')], &[])], &[&[1, 2], &[]]);
    }

    #[test]
    fn a_result_of_another_subject_is_found_anew() {
        check(&[(&[(1, 'a'), (2, 'b')], &[]), (&[(1, 'x'), (2, 'b'), (3, 'c')], &[])], &[&[1, 2], &[1, 3]]);
    }

    #[test]
    fn a_result_that_looked_at_what_changed_is_found_anew() {
        check(&[(&[(1, 'a'), (2, 'b')], &[]), (&[(1, 'a'), (2, 'b')], &[2, 9])], &[&[1, 2], &[2]]);
    }

    #[test]
    fn a_result_that_was_not_asked_for_is_dropped() {
        check(&[(&[(1, 'a'), (2, 'b')], &[]), (&[(2, 'b')], &[]), (&[(1, 'a'), (2, 'b')], &[])], &[&[1, 2], &[], &[1]]);
    }
}
