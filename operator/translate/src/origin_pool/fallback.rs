//! Circles of fallbacks.

use std::collections::BTreeMap;

use crate::inputs::ObjectKey;

/// Every pool that is part of a circle, with the circle spelled out from it: `a -> b -> a`.
///
/// A pool has at most one fallback, so walking from a pool as many steps as there are pools finds its circle, if it is
/// on one.
pub(super) fn circles(edges: &BTreeMap<ObjectKey, ObjectKey>) -> BTreeMap<ObjectKey, String> {
    let circle_of = |start: &ObjectKey| {
        let mut path = vec![start.name.as_str()];
        let mut at = edges.get(start)?;
        while at != start {
            if path.len() > edges.len() {
                return None;
            }
            path.push(&at.name);
            at = edges.get(at)?;
        }
        path.push(&start.name);
        Some(path.join(" -> "))
    };
    edges.keys().filter_map(|start| Some((start.clone(), circle_of(start)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(edges: &[(&str, &str)], expected: &[(&str, &str)]) {
        let key = |name: &str| ObjectKey::new("default", name);
        let edges = edges.iter().map(|(from, to)| (key(from), key(to))).collect();
        let expected = expected.iter().map(|(name, circle)| (key(name), (*circle).to_owned())).collect();
        assert_eq!(circles(&edges), expected);
    }

    #[test]
    fn a_chain_is_no_circle() {
        check(&[("a", "b"), ("b", "c")], &[]);
    }

    #[test]
    fn each_pool_of_a_circle_is_told_the_circle_from_itself() {
        check(&[("a", "b"), ("b", "a")], &[("a", "a -> b -> a"), ("b", "b -> a -> b")]);
    }

    #[test]
    fn a_pool_that_leads_into_a_circle_is_not_part_of_it() {
        check(&[("a", "b"), ("b", "c"), ("c", "b")], &[("b", "b -> c -> b"), ("c", "c -> b -> c")]);
    }
}
