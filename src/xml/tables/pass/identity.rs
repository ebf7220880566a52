//! Identity constraints while a document is read (Part 1, 3.11.4).
//!
//! Of each key only a digest is held, and only until the element ends that has the constraint;
//! keys that references may name travel outwards from there. What breaks a constraint is noted, and
//! the document is read on.

use crate::xml::tables::Id;
use crate::xml::tables::component::Type;
use crate::xml::tables::identity::{Breach, BreachKind, Constraint, ConstraintKind, Matched, Test};
use crate::xml::tables::names::{Namespace, Symbol};

use super::breaches::{Breaches, FirstSeen};
use super::held::{Digest, DigestMap, Digests, Held};
use super::{Pass, Step, Stop, doubt};

/// Constraints in force, and selected nodes, at the same time: each costs time at each element.
const AT_ONCE_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Identity {
    scopes: Vec<Scope>,
    nodes: Vec<Node>,
    /// Nodes that have ended, whose memory is used again.
    spare: Vec<Node>,
    kept: Vec<Kept>,
    pub(super) breaches: Breaches,
}

/// A constraint in force: the element that has it is open.
#[derive(Debug)]
struct Scope {
    constraint: Id<Constraint>,
    depth: usize,
    /// For each open element from there on, and each path of the selector.
    matched: Vec<Matched>,
    keys: Digests,
    references: Vec<Digest>,
    first_seen: FirstSeen,
}

/// An open element that a selector chose.
#[derive(Debug, Default)]
struct Node {
    /// The place of its scope.
    scope: usize,
    depth: usize,
    /// Bytes of the document before its tag.
    offset: u64,
    /// For each open element from there on, and each path of the fields.
    matched: Vec<Matched>,
    fields: Vec<Option<Digest>>,
    /// Fields whose elements are open, with their depths.
    wanted: Vec<(usize, usize)>,
}

/// Keys that references from the elements around may name.
#[derive(Debug)]
struct Kept {
    constraint: Id<Constraint>,
    depth: usize,
    /// Is it a key of more than one node, so that nothing can refer to it?
    keys: DigestMap<bool>,
}

impl Node {
    /// An element that the constraint of this scope chose.
    fn chosen(mut self, constraint: &Constraint, scope: usize, depth: usize, offset: u64) -> Node {
        self.scope = scope;
        self.depth = depth;
        self.offset = offset;
        self.matched.clear();
        self.matched
            .extend(constraint.field_paths().map(|path| path.start()));
        self.fields.clear();
        self.fields.resize(constraint.fields.len(), None);
        self.wanted.clear();
        self
    }
}

impl Identity {
    /// What reads the same document once more.
    pub(super) fn trace(&self) -> Identity {
        Identity {
            breaches: self.breaches.trace(),
            ..Identity::default()
        }
    }

    /// Is the element at this depth a field of something?
    pub(super) fn wants(&self, depth: usize) -> bool {
        let wants = |node: &Node| node.wanted.iter().any(|(_, at)| *at == depth);
        self.nodes.iter().any(wants)
    }

    /// The value of the element at this depth.
    pub(super) fn found(&mut self, depth: usize, digest: Digest) {
        for node in &mut self.nodes {
            let fields = &mut node.fields;
            node.wanted.retain(|(field, at)| {
                if *at == depth {
                    fields[*field] = Some(digest);
                }
                *at != depth
            });
        }
    }
}

impl Pass<'_> {
    /// The element on top of the stack begins.
    pub(super) fn enter(
        &mut self,
        at: usize,
        namespace: Namespace,
        symbol: Option<Symbol>,
    ) -> Step<()> {
        let tables = self.tables;
        let depth = self.state.stack.len();
        let Some(open) = self.state.stack.last() else {
            return Ok(());
        };
        let (of_type, is_skipped) = (open.of_type, open.is_skipped);
        let own = open.element.map(|id| &*tables.elements[id].constraints);
        let own = own.unwrap_or_default();
        if own.is_empty() && self.state.identity.scopes.is_empty() {
            return Ok(());
        }
        let identity = &mut self.state.identity;
        identity.scopes.extend(own.iter().map(|constraint| Scope {
            constraint: *constraint,
            depth,
            matched: Vec::new(),
            keys: Digests::default(),
            references: Vec::new(),
            first_seen: FirstSeen::new(),
        }));
        for n in 0..identity.nodes.len() {
            let node = &mut self.state.identity.nodes[n];
            let scope = &self.state.identity.scopes[node.scope];
            let constraint = &tables.constraints[scope.constraint];
            let outer = node.matched.len() - constraint.n_field_paths();
            for (n, path) in constraint.field_paths().enumerate() {
                let matched = path.step(node.matched[outer + n], namespace, symbol);
                node.matched.push(matched);
            }
            self.fields(at, n, depth, of_type)?;
        }
        self.select(at, depth, is_skipped, of_type, namespace, symbol)
    }

    /// Which selectors choose the element on top of the stack?
    fn select(
        &mut self,
        at: usize,
        depth: usize,
        is_skipped: bool,
        of_type: Id<Type>,
        namespace: Namespace,
        symbol: Option<Symbol>,
    ) -> Step<()> {
        let tables = self.tables;
        for n in 0..self.state.identity.scopes.len() {
            let identity = &mut self.state.identity;
            let scope = &mut identity.scopes[n];
            let constraint = &tables.constraints[scope.constraint];
            let mut is_selected = false;
            let n_paths = constraint.selector.len();
            for path in &constraint.selector {
                let matched = if scope.depth == depth {
                    path.start()
                } else {
                    // Each push moves the end on by one.
                    let outer = scope.matched[scope.matched.len() - n_paths];
                    path.step(outer, namespace, symbol)
                };
                is_selected |= path.is_whole(matched);
                scope.matched.push(matched);
            }
            if !is_selected {
                continue;
            }
            if is_skipped || identity.nodes.len() == AT_ONCE_MAX || n >= AT_ONCE_MAX {
                return doubt(at, "a selected element that is skipped, or too many");
            }
            let node = identity.spare.pop().unwrap_or_default();
            let offset = self.offset + at as u64;
            identity
                .nodes
                .push(node.chosen(constraint, n, depth, offset));
            let node = identity.nodes.len() - 1;
            self.fields(at, node, depth, of_type)?;
        }
        Ok(())
    }

    /// Which fields of a node are the element on top of the stack, or its attributes?
    fn fields(&mut self, at: usize, n: usize, depth: usize, of_type: Id<Type>) -> Step<()> {
        let node = &self.state.identity.nodes[n];
        let scope = &self.state.identity.scopes[node.scope];
        let constraint = &self.tables.constraints[scope.constraint];
        let mut place = node.matched.len() - constraint.n_field_paths();
        for (field, paths) in constraint.fields.iter().enumerate() {
            for path in paths {
                let node = &mut self.state.identity.nodes[n];
                let is_reached = path.is_whole(node.matched[place]);
                place += 1;
                match path.attribute {
                    _ if !is_reached => {}
                    Some(test) => self.attribute_fields(at, n, field, test, of_type)?,
                    None => {
                        let is_wanted = node.wanted.iter().any(|(wanted, _)| *wanted == field);
                        if is_wanted || node.fields[field].is_some() {
                            return doubt(at, "a field twice");
                        }
                        node.wanted.push((field, depth));
                    }
                }
            }
        }
        Ok(())
    }

    fn attribute_fields(
        &mut self,
        at: usize,
        n: usize,
        field: usize,
        test: Test,
        of_type: Id<Type>,
    ) -> Step<()> {
        let of_type = &self.tables.types[of_type];
        let attributes = &self.state.attributes;
        let is_defaulted = of_type.attributes.iter().any(|used| {
            let may_be_meant = match test {
                Test::Any | Test::InNamespace(_) => true,
                Test::Named(symbol) => symbol == used.symbol,
            };
            let is_there = || attributes.iter().any(|a| a.symbol == Some(used.symbol));
            used.attribute.value.is_some() && may_be_meant && !is_there()
        });
        if is_defaulted {
            return doubt(at, "a field with a default value");
        }
        for place in 0..self.state.attributes.len() {
            let attribute = &self.state.attributes[place];
            if !test.matches(attribute.namespace, attribute.symbol) {
                continue;
            }
            let declared = attribute
                .symbol
                .and_then(|symbol| of_type.attribute(symbol));
            let Some(declared) = declared else {
                return doubt(at, "a field by a wildcard");
            };
            self.attribute_value(at, place, &declared.attribute, true, false)?;
            let digest = self.state.held.digest(&self.state.key);
            let known = &mut self.state.identity.nodes[n].fields[field];
            if known.replace(digest).is_some() {
                return doubt(at, "a field twice");
            }
        }
        Ok(())
    }

    /// The element at this depth has ended.
    pub(super) fn leave(&mut self, at: usize, depth: usize) -> Step<()> {
        if self.state.identity.scopes.is_empty() && self.state.identity.kept.is_empty() {
            return Ok(());
        }
        self.leave_nodes(depth)?;
        self.leave_scopes(at, depth)?;
        self.hand_out(depth)
    }

    fn leave_nodes(&mut self, depth: usize) -> Step<()> {
        let tables = self.tables;
        // Nodes that end are behind those that stay open.
        while let Some(node) = (self.state.identity.nodes).pop_if(|node| node.depth == depth) {
            let constraint = self.state.identity.scopes[node.scope].constraint;
            if node.fields.iter().all(Option::is_some) {
                self.add_key(&node, constraint)?;
            } else if tables.constraints[constraint].kind == ConstraintKind::Key {
                let breach = Breach::of(constraint, BreachKind::Incomplete, node.offset);
                let breaches = &mut self.state.identity.breaches;
                breaches.note(breach, None, self.limits.findings_max);
            }
            self.state.identity.spare.push(node);
        }
        for node in &mut self.state.identity.nodes {
            let scope = &self.state.identity.scopes[node.scope];
            let n_paths = tables.constraints[scope.constraint].n_field_paths();
            node.matched.truncate(node.matched.len() - n_paths);
        }
        Ok(())
    }

    /// A node has ended, and all its fields are there.
    fn add_key(&mut self, node: &Node, constraint: Id<Constraint>) -> Step<()> {
        let (identity, held) = (&mut self.state.identity, &mut self.state.held);
        let scope = &mut identity.scopes[node.scope];
        let digest = held.combine(&node.fields);
        if identity.breaches.is_trace() {
            let first_seen = &mut scope.first_seen;
            (identity.breaches).seen(constraint, digest, node.offset, first_seen);
            return Ok(());
        }
        if !held.hold() {
            return Err(Stop::NoRoom);
        }
        match self.tables.constraints[constraint].kind {
            ConstraintKind::Reference(_) => scope.references.push(digest),
            ConstraintKind::Key | ConstraintKind::Unique => {
                if !scope.keys.insert(digest) {
                    held.release(1);
                    let breach = Breach::of(constraint, BreachKind::Twice, node.offset);
                    let max = self.limits.findings_max;
                    identity.breaches.note(breach, Some(digest), max);
                }
            }
        }
        Ok(())
    }

    fn leave_scopes(&mut self, at: usize, depth: usize) -> Step<()> {
        let tables = self.tables;
        let (identity, held) = (&mut self.state.identity, &mut self.state.held);
        let offset = self.offset + at as u64;
        let mut references = Vec::new();
        while let Some(scope) = identity.scopes.pop_if(|scope| scope.depth == depth) {
            let constraint = &tables.constraints[scope.constraint];
            match constraint.kind {
                ConstraintKind::Reference(target) => {
                    let breaches = &mut identity.breaches;
                    breaches.left(scope.constraint, offset, &scope.first_seen);
                    references.push((scope.constraint, target, scope.references));
                }
                ConstraintKind::Key | ConstraintKind::Unique if constraint.is_referred_to => {
                    let keys = scope.keys.into_iter().map(|key| (key, false)).collect();
                    identity.keep(scope.constraint, depth, keys, held);
                }
                ConstraintKind::Key | ConstraintKind::Unique => held.release(scope.keys.len()),
            }
        }
        for scope in &mut identity.scopes {
            let n_paths = tables.constraints[scope.constraint].selector.len();
            scope.matched.truncate(scope.matched.len() - n_paths);
        }
        for (constraint, target, digests) in references {
            // Where they are is found when the document is read once more.
            let breach = Breach::of(constraint, BreachKind::Dangling, offset);
            let Some(dangling) = self.state.identity.dangling(target, depth, &digests) else {
                return doubt(at, "a reference to keys of different elements");
            };
            for digest in dangling {
                let breaches = &mut self.state.identity.breaches;
                breaches.note(breach, Some(digest), self.limits.findings_max);
            }
            self.state.held.release(digests.len());
        }
        Ok(())
    }

    /// What is kept of an element that ended is kept by the one around it.
    fn hand_out(&mut self, depth: usize) -> Step<()> {
        let (identity, held) = (&mut self.state.identity, &mut self.state.held);
        while let Some(kept) = identity.kept.pop_if(|kept| kept.depth == depth) {
            if depth > 1 {
                identity.keep(kept.constraint, depth - 1, kept.keys, held);
            }
        }
        Ok(())
    }
}

impl Identity {
    /// Which references name no key, each once, in the order of the document.
    /// `None` when one names more than one.
    fn dangling(
        &self,
        target: Id<Constraint>,
        depth: usize,
        digests: &[Digest],
    ) -> Option<Vec<Digest>> {
        let mut kept = self.kept.iter();
        let kept = kept.find(|kept| kept.depth == depth && kept.constraint == target);
        let mut seen = Digests::default();
        let mut dangling = Vec::new();
        for digest in digests {
            match kept.and_then(|kept| kept.keys.get(digest)) {
                Some(false) => {}
                Some(true) => return None,
                None if seen.insert(*digest) => dangling.push(*digest),
                None => {}
            }
        }
        Some(dangling)
    }

    /// Keys of different nodes that are equal cannot be referred to (3.11.4, node tables).
    fn keep(
        &mut self,
        constraint: Id<Constraint>,
        depth: usize,
        mut keys: DigestMap<bool>,
        held: &mut Held,
    ) {
        let known = self.kept.iter_mut();
        let mut known = known.filter(|kept| kept.depth == depth && kept.constraint == constraint);
        let Some(known) = known.next() else {
            let kept = Kept {
                constraint,
                depth,
                keys,
            };
            // Deeper ones are behind.
            let place = self.kept.partition_point(|other| other.depth <= depth);
            self.kept.insert(place, kept);
            return;
        };
        if known.keys.len() < keys.len() {
            std::mem::swap(&mut known.keys, &mut keys);
        }
        for (key, is_ambiguous) in keys {
            let known = known.keys.entry(key);
            let mut is_twice = false;
            let ambiguous = known
                .and_modify(|_| is_twice = true)
                .or_insert(is_ambiguous);
            if is_twice {
                *ambiguous = true;
                held.release(1);
            }
        }
    }
}
