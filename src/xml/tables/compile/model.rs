//! Content models: from the engine's automata to deterministic ones.
//!
//! A state of the new automaton is a set of states of the old one, each with its counters, so
//! that nothing has to be counted later. Large bounds inside each other would make too many
//! states: their number and the work are bounded, and such a type is left to the full engine.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use xsd_schema::NameId;
use xsd_schema::compiler::{
    AllGroupModel, MaxOccurs, NfaTable, NfaTerm, NfaTransition, TransitionKind,
};

use super::super::arena::Arena;
use super::super::component::Element;
use super::super::model::{All, Automaton, Cell, Columns, Model, Way};
use super::super::names::Symbol;
use super::super::wildcard::Wildcard;
use super::fault_injection::FaultInjection;
use super::{Compiler, Id, Reason};

/// States of one automaton.
const STATES_MAX: usize = 4096;
/// States times columns.
const CELLS_MAX: usize = 1 << 20;
/// States of the old automaton in one of the new.
const SET_MAX: usize = 1 << 10;
const TOO_LARGE: Reason = "a content model of too many states";

/// The names that an element particle takes, each with its declaration.
type Names = Vec<(Symbol, Id<Element>)>;

/// A state of the old automaton with its counters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Configuration {
    state: u32,
    counters: Box<[u32]>,
}

impl Compiler<'_> {
    /// The name of an element, or of all that can stand for it (Part 1, 3.3.6).
    fn names_of(&mut self, term: &NfaTerm) -> Result<Names, Reason> {
        let NfaTerm::Element {
            name,
            namespace,
            element_key,
            ..
        } = term
        else {
            return Ok(Vec::new());
        };
        let key = element_key.ok_or("a particle without its declaration")?;
        let head = self.set.arenas.elements[key].resolved_ref.unwrap_or(key);
        let members = self.substitutes.get(&key);
        let Some(members) = members.or(self.substitutes.get(&head)).cloned() else {
            return Ok(vec![(self.symbol(*namespace, *name)?, self.element(key)?)]);
        };
        let declaration = &self.set.arenas.elements[head];
        let own = declaration
            .name
            .map(|name| (name, declaration.target_namespace));
        let mut names = Vec::new();
        for (name, namespace) in members {
            let member = if own == Some((name, namespace)) {
                head
            } else {
                let found = self.set.lookup_element(namespace, name);
                found.ok_or("a substitution group with an unknown member")?
            };
            names.push((self.symbol(namespace, name)?, self.element(member)?));
        }
        Ok(names)
    }

    pub(super) fn all(&mut self, all: &AllGroupModel) -> Result<Model, Reason> {
        if all.particles.len() > All::MEMBERS_MAX || all.open_content.is_some() {
            return Err("xs:all of too many members");
        }
        let mut symbols = Vec::new();
        let mut members = Vec::new();
        let mut required = 0;
        for (n, particle) in (0_u8..).zip(&all.particles) {
            match particle.max_occurs {
                MaxOccurs::Bounded(0) => continue,
                MaxOccurs::Bounded(1) if !particle.term.is_wildcard() => {}
                MaxOccurs::Bounded(_) | MaxOccurs::Unbounded => {
                    return Err("xs:all with a member that may occur more than once");
                }
            }
            if particle.min_occurs > 0 {
                required |= 1 << n;
            }
            for (symbol, element) in self.names_of(&particle.term)? {
                symbols.push(symbol);
                members.push((element, n));
            }
        }
        let n_names = symbols.iter().collect::<HashSet<_>>().len();
        if n_names < symbols.len() || n_names > Columns::MAX {
            return Err("xs:all with a name twice");
        }
        Ok(Model::All(All {
            columns: Columns::new(&symbols),
            members: members.into(),
            required,
            is_optional: all.outer_optional,
        }))
    }

    pub(super) fn automaton(
        &mut self,
        nfa: &NfaTable,
        target: Option<NameId>,
    ) -> Result<Model, Reason> {
        let terms = self.terms(nfa, target)?;
        let mut symbols: Vec<Symbol> = terms.values().flat_map(Term::symbols).collect();
        symbols.sort_unstable();
        symbols.dedup();
        if symbols.len() > Columns::MAX {
            return Err(TOO_LARGE);
        }
        let mut construction = Construction {
            nfa,
            fault: self.fault,
            terms,
            known_wildcards: &self.tables.wildcards,
            columns: Columns::new(&symbols),
            work_left: &mut self.work_left,
            sets: Vec::new(),
            numbers: HashMap::new(),
            behind: HashMap::new(),
            elements: Vec::new(),
            cells: Vec::new(),
            wildcards: Vec::new(),
            accepts: Vec::new(),
        };
        construction.run()?;
        Ok(Model::Automaton(construction.finish()))
    }

    fn terms(
        &mut self,
        nfa: &NfaTable,
        target: Option<NameId>,
    ) -> Result<HashMap<u32, Term>, Reason> {
        let mut terms = HashMap::new();
        for state in &nfa.states {
            let term = match &state.term {
                None => continue,
                Some(element @ NfaTerm::Element { .. }) => Term::Names(self.names_of(element)?),
                Some(NfaTerm::Wildcard {
                    namespace_constraint,
                    process_contents,
                    not_qnames,
                }) => {
                    if !not_qnames.is_empty() {
                        return Err("a wildcard that leaves names out");
                    }
                    let wildcard =
                        self.element_wildcard(namespace_constraint, *process_contents, target);
                    Term::Wildcard(wildcard)
                }
            };
            terms.insert(state.id, term);
        }
        Ok(terms)
    }
}

enum Term {
    Names(Names),
    Wildcard(Id<Wildcard>),
}

impl Term {
    fn symbols(&self) -> impl Iterator<Item = Symbol> {
        let names = match self {
            Term::Names(names) => names.as_slice(),
            Term::Wildcard(_) => &[],
        };
        names.iter().map(|(symbol, _)| *symbol)
    }
}

/// Where the names and wildcards of one state lead.
struct Exits {
    /// For each column, the targets and the declaration.
    by_column: Vec<Option<(Vec<Configuration>, Id<Element>)>>,
    by_wildcard: Vec<(Id<Wildcard>, Vec<Configuration>)>,
}

struct Construction<'n> {
    nfa: &'n NfaTable,
    fault: FaultInjection,
    terms: HashMap<u32, Term>,
    known_wildcards: &'n Arena<Wildcard>,
    columns: Columns,
    work_left: &'n mut usize,
    /// The states that there are, and their numbers.
    sets: Vec<Rc<[Configuration]>>,
    numbers: HashMap<Rc<[Configuration]>, u16>,
    /// The state behind a single target, which nearly all exits have.
    behind: HashMap<Configuration, u16>,
    elements: Vec<Id<Element>>,
    cells: Vec<Cell>,
    wildcards: Vec<Box<[Way]>>,
    accepts: Vec<bool>,
}

impl Construction<'_> {
    fn run(&mut self) -> Result<(), Reason> {
        self.number(vec![Configuration {
            state: self.nfa.start_state,
            counters: vec![0; self.nfa.counter_defs.len()].into(),
        }])?;
        let mut next = 0;
        while next < self.sets.len() {
            let set = Rc::clone(&self.sets[next]);
            next += 1;
            if self.cells.len() + self.columns.len() > CELLS_MAX {
                return Err(TOO_LARGE);
            }
            let exits = self.exits(&set)?;
            for exit in exits.by_column {
                let cell = match exit {
                    None => Cell::NONE,
                    Some((targets, element)) => Cell {
                        next: self.number(targets)?,
                        element: self.element(element)?,
                    },
                };
                self.cells.push(cell);
            }
            let mut ways = Vec::new();
            for (wildcard, targets) in exits.by_wildcard {
                let next = self.number(targets)?;
                ways.push(Way { wildcard, next });
            }
            self.wildcards.push(ways.into());
            let accepts = |one: &Configuration| one.state == self.nfa.accept_state;
            self.accepts.push(set.iter().any(accepts));
        }
        Ok(())
    }

    fn finish(mut self) -> Automaton {
        if self.wildcards.iter().all(|ways| ways.is_empty()) {
            self.wildcards.clear();
        }
        Automaton {
            columns: self.columns,
            cells: self.cells.into(),
            elements: self.elements.into(),
            accepts: self.accepts.into(),
            wildcards: self.wildcards.into(),
        }
    }

    fn exits(&self, set: &[Configuration]) -> Result<Exits, Reason> {
        let mut exits = Exits {
            by_column: vec![None; self.columns.len()],
            by_wildcard: Vec::new(),
        };
        for one in set {
            let Some(term) = self.terms.get(&one.state) else {
                continue;
            };
            let targets = self.nfa.states[one.state as usize].consuming_transitions();
            let targets: Vec<Configuration> = targets
                .map(|state| Configuration {
                    state,
                    counters: one.counters.clone(),
                })
                .collect();
            match term {
                Term::Names(names) => {
                    for (symbol, element) in names {
                        let column = self.columns.find(*symbol).ok_or("a name of no column")?;
                        match &mut exits.by_column[column] {
                            // Only one would be checked. The engine's rule against it (Unique
                            // Particle Attribution) is not the same for all models.
                            Some((_, other)) if other != element => {
                                return Err("two declarations for one name");
                            }
                            Some((all, _)) => all.extend(targets.iter().cloned()),
                            none => *none = Some((targets.clone(), *element)),
                        }
                    }
                }
                Term::Wildcard(wildcard) => {
                    let known = exits.by_wildcard.iter_mut();
                    match known.into_iter().find(|(other, _)| other == wildcard) {
                        Some((_, all)) => all.extend(targets),
                        None => exits.by_wildcard.push((*wildcard, targets)),
                    }
                }
            }
        }
        for (n, (one, _)) in exits.by_wildcard.iter().enumerate() {
            let one = &self.known_wildcards[*one].namespaces;
            let mut others = exits.by_wildcard[..n].iter();
            if others.any(|(other, _)| self.known_wildcards[*other].namespaces.meets(one)) {
                return Err("two wildcards for one name");
            }
        }
        Ok(exits)
    }

    fn element(&mut self, element: Id<Element>) -> Result<u16, Reason> {
        let known = self.elements.iter().position(|other| *other == element);
        let place = known.unwrap_or_else(|| {
            self.elements.push(element);
            self.elements.len() - 1
        });
        u16::try_from(place).map_err(|_| TOO_LARGE)
    }

    /// The number of the state that `targets` and what follows from them make.
    fn number(&mut self, targets: Vec<Configuration>) -> Result<u16, Reason> {
        let single = match targets.as_slice() {
            [single] => Some(single.clone()),
            _ => None,
        };
        if let Some(number) = single.as_ref().and_then(|single| self.behind.get(single)) {
            return Ok(*number);
        }
        let set: Rc<[Configuration]> = self.closure(targets)?.into();
        let number = match self.numbers.get(&set) {
            Some(number) => *number,
            None if self.sets.len() == STATES_MAX => return Err(TOO_LARGE),
            None => {
                let number = u16::try_from(self.sets.len()).map_err(|_| TOO_LARGE)?;
                self.numbers.insert(Rc::clone(&set), number);
                self.sets.push(set);
                number
            }
        };
        if let Some(single) = single {
            self.behind.insert(single, number);
        }
        Ok(number)
    }

    /// All configurations that are reached without a child, as far as they take one or end.
    fn closure(&mut self, targets: Vec<Configuration>) -> Result<Vec<Configuration>, Reason> {
        let mut reached = HashSet::new();
        let mut next = targets;
        while let Some(one) = next.pop() {
            if reached.contains(&one) {
                continue;
            }
            *self.work_left = self.work_left.checked_sub(1).ok_or(TOO_LARGE)?;
            if reached.len() == SET_MAX {
                return Err(TOO_LARGE);
            }
            let transitions = self.nfa.transitions_from(one.state).iter();
            next.extend(transitions.filter_map(|transition| self.follow(&one, transition)));
            reached.insert(one);
        }
        let mut set: Vec<Configuration> = reached
            .into_iter()
            .filter(|one| one.state == self.nfa.accept_state || self.terms.contains_key(&one.state))
            .collect();
        set.sort_unstable();
        Ok(set)
    }

    fn follow(&self, from: &Configuration, transition: &NfaTransition) -> Option<Configuration> {
        let mut next = from.clone();
        next.state = transition.target;
        match transition.kind {
            TransitionKind::Consume => return None,
            TransitionKind::Epsilon => {}
            TransitionKind::CounterReset(n) => next.counters[usize::from(n)] = 0,
            TransitionKind::CounterIncrement(n) => {
                let bounds = &self.nfa.counter_defs[usize::from(n)];
                let counter = &mut next.counters[usize::from(n)];
                let most = self.fault.occurrences_max(bounds.max);
                let enough = if most == u32::MAX { bounds.min } else { most };
                *counter = counter.saturating_add(1).min(enough);
                if bounds.body_nullable {
                    // What may be empty can be there as often as it has to.
                    *counter = (*counter).max(bounds.min);
                }
            }
            TransitionKind::CounterMaxGuard(n) => {
                let bounds = &self.nfa.counter_defs[usize::from(n)];
                if from.counters[usize::from(n)] >= self.fault.occurrences_max(bounds.max) {
                    return None;
                }
            }
            TransitionKind::CounterMinGuard(n) => {
                let bounds = &self.nfa.counter_defs[usize::from(n)];
                if from.counters[usize::from(n)] < bounds.min {
                    return None;
                }
                // Outside of its loop a counter means nothing.
                next.counters[usize::from(n)] = 0;
            }
        }
        Some(next)
    }
}
