//! Wildcards: which namespaces, and what of what stands there is checked (Part 1, 3.10).

use super::names::Namespace;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Wildcard {
    pub(super) namespaces: Namespaces,
    pub(super) process: Process,
}

/// How much of what a wildcard takes is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Process {
    /// What is declared.
    Lax,
    /// Only that it is well-formed.
    Skip,
    /// It has to be declared.
    Strict,
}

/// A set of namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Namespaces {
    Any,
    Only(Vec<Namespace>),
    Except(Vec<Namespace>),
}

impl Namespaces {
    pub(super) fn contains(&self, namespace: Namespace) -> bool {
        match self {
            Namespaces::Any => true,
            Namespaces::Only(some) => some.contains(&namespace),
            Namespaces::Except(some) => !some.contains(&namespace),
        }
    }

    /// Is there a namespace in both?
    pub(super) fn meets(&self, other: &Namespaces) -> bool {
        match self.clone().intersection(other.clone()) {
            Namespaces::Any | Namespaces::Except(_) => true,
            Namespaces::Only(some) => !some.is_empty(),
        }
    }

    /// Part 1, 3.10.6, Attribute Wildcard Union.
    pub(super) fn union(self, other: Namespaces) -> Namespaces {
        use Namespaces::{Any, Except, Only};
        match (self, other) {
            (Any, _) | (_, Any) => Any,
            (Only(a), Only(b)) => Only([a, b].concat()),
            (Except(a), Except(b)) => Except(both(a, &b)),
            (Only(yes), Except(no)) | (Except(no), Only(yes)) => Except(without(no, &yes)),
        }
    }

    /// Part 1, 3.10.6, Attribute Wildcard Intersection.
    pub(super) fn intersection(self, other: Namespaces) -> Namespaces {
        use Namespaces::{Any, Except, Only};
        match (self, other) {
            (Any, other) | (other, Any) => other,
            (Only(a), Only(b)) => Only(both(a, &b)),
            (Except(a), Except(b)) => Except([a, b].concat()),
            (Only(yes), Except(no)) | (Except(no), Only(yes)) => Only(without(yes, &no)),
        }
    }
}

fn both(mut some: Vec<Namespace>, others: &[Namespace]) -> Vec<Namespace> {
    some.retain(|namespace| others.contains(namespace));
    some
}

fn without(mut some: Vec<Namespace>, others: &[Namespace]) -> Vec<Namespace> {
    some.retain(|namespace| !others.contains(namespace));
    some
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn union_and_intersection_are_those_of_sets() {
        let (a, b, c) = (Namespace::ABSENT, Namespace::XML, Namespace::XSI);
        let sets = [
            Namespaces::Any,
            Namespaces::Only(vec![]),
            Namespaces::Only(vec![a]),
            Namespaces::Only(vec![a, b]),
            Namespaces::Except(vec![a]),
            Namespaces::Except(vec![b, c]),
        ];
        for one in &sets {
            for other in &sets {
                let union = one.clone().union(other.clone());
                let intersection = one.clone().intersection(other.clone());
                let mut meets = false;
                for namespace in [a, b, c, Namespace::FOREIGN] {
                    let (in_one, in_other) = (one.contains(namespace), other.contains(namespace));
                    assert_eq!(union.contains(namespace), in_one || in_other);
                    assert_eq!(intersection.contains(namespace), in_one && in_other);
                    meets |= in_one && in_other;
                }
                assert_eq!(one.meets(other), meets);
            }
        }
    }
}
