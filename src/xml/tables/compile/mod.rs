//! From the resolved components of a schema to [`Tables`], by the public interface of
//! `xsd-schema` alone.
//!
//! What cannot be expressed is marked where it stands: a type, or a simple type. Only where that
//! is not possible there are no tables at all.

use std::cell::Cell;
use std::collections::HashMap;

use xsd_schema::compiler::{SubstitutionGroupMap, build_substitution_group_map};
use xsd_schema::namespace::context::NamespaceContextSnapshot;
use xsd_schema::namespace::table::{NameTable, well_known};
use xsd_schema::schema::DerivationSet;
use xsd_schema::types::BuiltInType;
use xsd_schema::{
    ComplexTypeKey, ElementKey, IdentityConstraintKey, NameId, SchemaSet, SimpleTypeKey, TypeKey,
};

use super::Tables;
use super::arena::Id;
use super::component::{Content, Element, Methods, Type, Value};
use super::identity::Constraint;
use super::names::{NamesBuilder, Namespace, Symbol};
use super::simple::{self, Key, SimpleType, Surroundings};
use super::wildcard::{Process, Wildcard};
use fault_injection::FaultInjection;

mod attributes;
mod complex;
mod fault_injection;
mod identity;
mod model;
mod simple_types;
mod wildcards;

/// Why something cannot be expressed.
type Reason = &'static str;

/// Nothing that the engine accepts is derived, or nested, as deeply; a bound against its faults.
const DEPTH_MAX: usize = 100;

/// Steps that the automata of one schema may cost to build: about a second.
const WORK_MAX: usize = 1 << 24;

impl Tables {
    /// # Errors
    /// When the schema as a whole cannot be expressed.
    pub(in crate::xml) fn compile(set: &SchemaSet) -> Result<Tables, &'static str> {
        if set.is_xsd11() {
            return Err("a schema of XSD 1.1");
        }
        let mut compiler = Compiler::new(set);
        compiler.globals()?;
        while let Some((id, key)) = compiler.pending.pop() {
            if let Err(reason) = compiler.fill_type(id, key) {
                compiler.tables.types[id].inexpressible = Some(reason);
            }
        }
        compiler.finish()
    }
}

struct Compiler<'s> {
    set: &'s SchemaSet,
    fault: FaultInjection,
    substitutes: SubstitutionGroupMap,
    names: NamesBuilder,
    /// Without their names, which are complete at the end.
    tables: Tables,
    /// What already has a place in the tables.
    elements: HashMap<ElementKey, Id<Element>>,
    types: HashMap<TypeKey, Id<Type>>,
    simple_types: HashMap<SimpleTypeKey, Id<SimpleType>>,
    constraints: HashMap<IdentityConstraintKey, Id<Constraint>>,
    wildcards: HashMap<Wildcard, Id<Wildcard>>,
    /// Types that have a place but are empty yet.
    pending: Vec<(Id<Type>, TypeKey)>,
    work_left: usize,
}

impl<'s> Compiler<'s> {
    fn new(set: &'s SchemaSet) -> Compiler<'s> {
        let any_type = TypeKey::Complex(set.any_type_key());
        let tables = Tables::empty(Process::Strict);
        let id = tables.any_type;
        Compiler {
            set,
            fault: FaultInjection::chosen(),
            substitutes: build_substitution_group_map(set),
            names: NamesBuilder::new(),
            tables,
            elements: HashMap::new(),
            types: HashMap::from([(any_type, id)]),
            simple_types: HashMap::new(),
            constraints: HashMap::new(),
            wildcards: HashMap::new(),
            pending: vec![(id, any_type)],
            work_left: WORK_MAX,
        }
    }

    fn finish(self) -> Result<Tables, Reason> {
        if !self.names.is_complete() {
            return Err("a schema of too many namespaces");
        }
        Ok(Tables {
            names: self.names.finish(),
            ..self.tables
        })
    }

    /// All that a document may name: global elements, attributes and types, the built-in ones too.
    fn globals(&mut self) -> Result<(), Reason> {
        let set = self.set;
        let schema_namespace = Some(well_known::XS_NAMESPACE);
        let any_type = TypeKey::Complex(set.any_type_key());
        self.global_type(schema_namespace, "anyType", any_type)?;
        for built_in in BuiltInType::all() {
            let local = built_in.local_name();
            let name = set.name_table.get(local);
            let key = name.and_then(|name| set.get_built_in_type_by_qname(schema_namespace, name));
            if let Some(key) = key {
                self.global_type(schema_namespace, local, key)?;
            }
        }
        for (namespace, table) in &set.namespaces {
            for (name, key) in &table.types {
                self.global_type(*namespace, self.text(*name), *key)?;
            }
            for (name, key) in &table.elements {
                let symbol = self.symbol(*namespace, *name)?;
                let element = self.element(*key)?;
                self.tables.global_elements.add(symbol, element);
            }
            for (name, key) in &table.attributes {
                let symbol = self.symbol(*namespace, *name)?;
                let attribute = self.attribute(*key);
                let id = self.tables.attributes.add(attribute);
                self.tables.global_attributes.add(symbol, id);
            }
        }
        Ok(())
    }

    fn global_type(
        &mut self,
        namespace: Option<NameId>,
        local: &str,
        key: TypeKey,
    ) -> Result<(), Reason> {
        let namespace = self.namespace(namespace);
        let symbol = self.names.symbol(namespace, local).ok_or(TOO_MANY_NAMES)?;
        let id = self.type_of(key);
        self.tables.global_types.add(symbol, id);
        Ok(())
    }

    fn text(&self, name: NameId) -> &'s str {
        self.set.name_table.resolve_ref(name)
    }

    fn namespace(&mut self, uri: Option<NameId>) -> Namespace {
        let uri = uri.map_or("", |uri| self.text(uri));
        self.names.namespace(uri)
    }

    fn symbol(&mut self, namespace: Option<NameId>, name: NameId) -> Result<Symbol, Reason> {
        let namespace = self.namespace(namespace);
        let local = self.text(name);
        self.names.symbol(namespace, local).ok_or(TOO_MANY_NAMES)
    }

    /// The place of a type, which is filled later.
    fn type_of(&mut self, key: TypeKey) -> Id<Type> {
        if let Some(id) = self.types.get(&key) {
            return *id;
        }
        let id = self.tables.types.add(Type::empty());
        self.types.insert(key, id);
        self.pending.push((id, key));
        id
    }

    fn fill_type(&mut self, id: Id<Type>, key: TypeKey) -> Result<(), Reason> {
        match key {
            TypeKey::Complex(key) => self.fill_complex(id, key),
            TypeKey::Simple(simple) => {
                let written = self.set.arenas.simple_types[simple].resolved_base_type;
                let built_in = self.set.builtin_types().get_base_type(simple);
                let base = match written.or(built_in.map(TypeKey::Simple)) {
                    Some(base) if base != key => self.type_of(base),
                    _ => self.tables.any_type,
                };
                let content = Content::Simple(self.simple_type(simple));
                let of = &mut self.tables.types[id];
                of.base = Some(base);
                of.content = content;
                Ok(())
            }
        }
    }

    fn element(&mut self, key: ElementKey) -> Result<Id<Element>, Reason> {
        let key = self.set.arenas.elements[key].resolved_ref.unwrap_or(key);
        if let Some(id) = self.elements.get(&key) {
            return Ok(*id);
        }
        let declaration = &self.set.arenas.elements[key];
        let any_type = TypeKey::Complex(self.set.any_type_key());
        let type_key = declaration.resolved_type.unwrap_or(any_type);
        let text = (&declaration.default_value, &declaration.fixed_value);
        let value = match text {
            (None, None) => None,
            (Some(text), _) | (None, Some(text)) => {
                let of_type = match type_key {
                    TypeKey::Simple(key) => Some(self.simple_type(key)),
                    TypeKey::Complex(key) => self.simple_content(key).ok(),
                };
                Some(self.value(text, of_type, declaration.fixed_value.is_some()))
            }
        };
        let mut constraints = Vec::new();
        for constraint in &declaration.identity_constraints {
            constraints.push(self.constraint(*constraint)?);
        }
        let element = Element {
            of_type: self.type_of(type_key),
            value,
            constraints: constraints.into(),
            block: methods(declaration.block),
            is_nillable: declaration.nillable,
            is_abstract: declaration.is_abstract || declaration.deferred_type_error.is_some(),
        };
        let id = self.tables.elements.add(element);
        self.elements.insert(key, id);
        Ok(id)
    }

    /// A default or fixed value.
    fn value(&self, text: &str, of_type: Option<Id<SimpleType>>, is_fixed: bool) -> Value {
        let types = &self.tables.simple_types;
        let mut key = Vec::new();
        let mut is_value = |with_key| {
            let mut key = Key::new(&mut key, with_key);
            let mut around = Schema::anywhere();
            let check = |of| simple::check(types, of, text.as_bytes(), &mut around, &mut key);
            of_type.is_some_and(check) && !around.is_lost.get()
        };
        let is_known = is_value(false);
        let has_key = is_value(true);
        Value {
            is_fixed,
            is_known,
            key: has_key.then(|| key.into()),
            text: text.as_bytes().into(),
        }
    }
}

const TOO_MANY_NAMES: Reason = "a schema of too many names";

fn methods(set: DerivationSet) -> Methods {
    let mut methods = Methods::NONE;
    if set.contains_extension() {
        methods = methods.and(Methods::EXTENSION);
    }
    if set.contains_restriction() {
        methods = methods.and(Methods::RESTRICTION);
    }
    methods
}

/// Where a value in a schema stands: IDs have no meaning there.
struct Schema<'s> {
    /// What prefixes stand for there, if that is known.
    scope: Option<(&'s NamespaceContextSnapshot, &'s NameTable)>,
    /// What one stands for was of interest, and is not known.
    is_lost: Cell<bool>,
}

impl<'s> Schema<'s> {
    fn anywhere() -> Schema<'s> {
        Schema {
            scope: None,
            is_lost: Cell::new(false),
        }
    }

    fn at(scope: &'s NamespaceContextSnapshot, names: &'s NameTable) -> Schema<'s> {
        Schema {
            scope: Some((scope, names)),
            is_lost: Cell::new(false),
        }
    }
}

impl Surroundings for Schema<'_> {
    fn namespace(&self, prefix: &[u8]) -> Option<&[u8]> {
        let Some((scope, names)) = self.scope else {
            self.is_lost.set(true);
            return None;
        };
        let uri = if prefix.is_empty() {
            scope.default_namespace()
        } else {
            let prefix = names.get(std::str::from_utf8(prefix).ok()?)?;
            Some(scope.resolve_prefix(prefix)?)
        };
        Some(uri.map_or("", |uri| names.resolve_ref(uri)).as_bytes())
    }

    fn id(&mut self, _: &[u8]) -> bool {
        true
    }

    fn id_reference(&mut self, _: &[u8]) -> bool {
        true
    }
}

/// The base of a complex type, if that is a complex type other than itself.
fn complex_base(set: &SchemaSet, key: ComplexTypeKey) -> Option<ComplexTypeKey> {
    match set.arenas.complex_types[key].resolved_base_type {
        Some(TypeKey::Complex(base)) if base != key => Some(base),
        Some(TypeKey::Complex(_) | TypeKey::Simple(_)) | None => None,
    }
}
