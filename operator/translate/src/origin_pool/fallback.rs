//! Circles of fallbacks.

use std::collections::BTreeMap;

use crate::inputs::ObjectKey;

/// Longer circles are told in short.
const NAMES_TOLD: usize = 8;

/// Every pool that is part of a circle, with the circle spelled out from it: `a -> b -> a`.
///
/// A pool has at most one fallback, so that each pool is walked through once: a walk ends where there is no fallback,
/// at a pool that an earlier walk has seen, or at one of its own, which closes a circle.
pub(super) fn circles(edges: &BTreeMap<ObjectKey, ObjectKey>) -> BTreeMap<ObjectKey, String> {
    let mut told = BTreeMap::new();
    // Each pool that was seen, with its place in the walk that saw it. Places go on from walk to walk.
    let mut seen: BTreeMap<&ObjectKey, usize> = BTreeMap::new();
    for start in edges.keys() {
        let first = seen.len();
        let mut path: Vec<&ObjectKey> = Vec::new();
        let mut next = Some(start);
        while let Some(at) = next {
            if let Some(place) = seen.get(at) {
                if let Some(circle) = place.checked_sub(first).and_then(|place| path.get(place..)) {
                    tell(circle, &mut told);
                }
                break;
            }
            seen.insert(at, seen.len());
            path.push(at);
            next = edges.get(at);
        }
    }
    told
}

/// Spells a circle out from each of its pools.
fn tell(circle: &[&ObjectKey], told: &mut BTreeMap<ObjectKey, String>) {
    for (index, start) in circle.iter().enumerate() {
        let from_start = circle.iter().cycle().skip(index).take(circle.len().min(NAMES_TOLD));
        let mut names: Vec<&str> = from_start.map(|key| key.name.as_str()).collect();
        if circle.len() > NAMES_TOLD {
            names.push("...");
        }
        names.push(&start.name);
        told.insert((*start).clone(), names.join(" -> "));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    #[test]
    fn a_long_circle_is_told_in_short() {
        let names: Vec<String> = (0..10).map(|number| format!("p{number}")).collect();
        let edges: Vec<(&str, &str)> = (0..10).map(|at| (names[at].as_str(), names[(at + 1) % 10].as_str())).collect();
        let key = |name: &str| ObjectKey::new("default", name);
        let circles = circles(&edges.iter().map(|(from, to)| (key(from), key(to))).collect());
        let expected = "p9 -> p0 -> p1 -> p2 -> p3 -> p4 -> p5 -> p6 -> ... -> p9";
        assert_eq!((circles.len(), circles[&key("p9")].as_str()), (10, expected));
    }

    /// Walks from each pool on its own.
    fn naive(edges: &BTreeMap<ObjectKey, ObjectKey>) -> Vec<ObjectKey> {
        let returns = |start: &&ObjectKey| {
            let mut at = edges.get(*start);
            for _ in 0..edges.len() {
                match at {
                    Some(found) if found == *start => return true,
                    Some(found) => at = edges.get(found),
                    None => return false,
                }
            }
            false
        };
        edges.keys().filter(returns).cloned().collect()
    }

    proptest! {
        #[test]
        fn the_pools_of_circles_are_those_that_a_walk_comes_back_to(
            edges in prop::collection::btree_map("[a-h]", "[a-h]", 0..9),
        ) {
            let key = |name: &String| ObjectKey::new("default", name);
            let edges: BTreeMap<_, _> = edges.iter().map(|(from, to)| (key(from), key(to))).collect();
            prop_assert_eq!(circles(&edges).into_keys().collect::<Vec<_>>(), naive(&edges));
        }
    }
}
